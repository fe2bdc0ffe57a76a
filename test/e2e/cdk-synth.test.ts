import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const ROOT = resolve(__dirname, '../..');
const NOWHERE = 'http://127.0.0.1:9';

test('cdk synth works without network and account, bundles the Lambdas and passes the security rules', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cdk-synth-'));
  try {
    await promisify(execFile)(
      process.execPath,
      [join(ROOT, 'node_modules/aws-cdk/bin/cdk'), 'synth', '--quiet', '--output', folder],
      {
        cwd: ROOT,
        timeout: 150_000,
        killSignal: 'SIGKILL',
        // No keys, no profile, and every way out leads nowhere.
        env: {
          PATH: process.env['PATH'],
          HOME: folder,
          AWS_EC2_METADATA_DISABLED: 'true',
          HTTP_PROXY: NOWHERE,
          HTTPS_PROXY: NOWHERE,
        },
      },
    );
    const files = await readdir(folder);
    const template =
      files.find((name) => /^LightningStream-[a-z]+\.template\.json$/.test(name)) ?? '';
    const { Outputs } = JSON.parse(await readFile(join(folder, template), 'utf8')) as {
      Outputs: object;
    };
    expect(Object.keys(Outputs)).toEqual(expect.arrayContaining(['BucketName', 'QueuePrefix']));
    const bundles = files.filter((name) => /^asset\.[0-9a-f]{64}$/.test(name));
    expect(bundles).toHaveLength(3);
    for (const bundle of bundles) {
      expect(await readdir(join(folder, bundle))).toEqual(['index.js']);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 180_000);
