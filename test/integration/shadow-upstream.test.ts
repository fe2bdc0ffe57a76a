import { execFile } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { dumpLmdb, PlainApplication } from '../support/shadow.ts';
import { Fleet } from '../support/hosts.ts';

// Upstream's own binary on the very LMDB that ours worked on, and ours after it. Its path: LIGHTNINGSTREAM_UPSTREAM.
const upstream = process.env.LIGHTNINGSTREAM_UPSTREAM;
const describeUpstream = upstream === undefined ? describe.skip : describe;

jest.setTimeout(60_000);
const run = promisify(execFile);

let fleet: Fleet;

beforeEach(async () => {
  fleet = await Fleet.open();
});

afterEach(() => fleet.close());

async function change(file: string, value: string): Promise<void> {
  const application = new PlainApplication(file);
  application.write((txn) => {
    txn.put('index', 'a', value);
    txn.put('single', 's9', value);
  });
  await application.close();
}

async function writeConfig(file: string): Promise<string> {
  const config = join(fleet.folder, 'both.yaml');
  await mkdir(fleet.bucket);
  await writeFile(
    config,
    `instance: solo
lmdbs:
  main:
    path: ${JSON.stringify(file)}
    schema_tracks_changes: false
    dupsort_hack: true
    options: {no_subdir: true}
storage:
  type: fs
  options: {root_path: ${JSON.stringify(fleet.bucket)}}
`,
  );
  return config;
}

describeUpstream('upstream’s binary', () => {
  test('takes over the LMDB from us as it is, and we from it', async () => {
    const file = fleet.lmdbFile('a');
    copyFileSync('test/fixtures/d-shadow-dupsort/data.mdb', file);
    const config = await writeConfig(file);
    const args = ['--config', config, 'sync', '--only-once'];
    const ours = () => run(process.execPath, ['dist/lightningstream.cjs', ...args]);
    const theirs = () => run(upstream ?? '', args, { timeout: 20_000 });

    await ours();
    await change(file, 'one');
    await ours();
    const left = dumpLmdb(file);
    await theirs();
    expect(dumpLmdb(file)).toEqual(left);
    await change(file, 'two');
    await theirs();
    const theirLeft = dumpLmdb(file);
    await ours();
    expect(dumpLmdb(file)).toEqual(theirLeft);
  });
});
