import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const root = join(__dirname, '../..');
const run = promisify(execFile);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'install-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function place(file: string, text: string): Promise<void> {
  await mkdir(dirname(join(folder, file)), { recursive: true });
  await writeFile(join(folder, file), text);
}

/** A project with the real script in its place. */
async function placeScript(name: string): Promise<string> {
  const script = join(folder, 'agent/build', name);
  await mkdir(dirname(script), { recursive: true });
  await copyFile(join(root, 'agent/build', name), script);
  return script;
}

type Ended = { readonly code: number; readonly stdout: string; readonly stderr: string };

function runNode(script: string, env: Record<string, string> = {}): Promise<Ended> {
  return run(process.execPath, [script], { env: { ...process.env, ...env } }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: Ended) => error,
  );
}

describe('the bundle', () => {
  beforeEach(async () => {
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    await place('package.json', '{"version": "7.8.9"}');
    await place('agent/start.ts', `void import('./main.ts');\n`);
    await place('agent/lmdb/thread/worker.ts', 'export {};\n');
    await place('agent/guard/reader-check.ts', 'export {};\n');
  });

  test('is an executable file that loads the rest, knows its version and loads the SDKs of clouds only when asked to', async () => {
    await place(
      'agent/main.ts',
      `export const s3 = () => import('@aws-sdk/client-s3');
export const azure = () => [import('@azure/storage-blob'), import('@azure/identity')];
console.log(process.env['LIGHTNINGSTREAM_VERSION'], process.env.LIGHTNINGSTREAM_VERSION);
`,
    );
    const { code, stderr } = await runNode(await placeScript('bundle.mjs'));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const command = join(folder, 'dist/lightningstream.cjs');
    expect((await stat(command)).mode & 0o111).toBe(0o111);
    for (const file of [command, join(folder, 'dist/lightningstream-main.cjs')]) {
      expect((await stat(file)).size).toBeLessThan(10_000);
    }
    expect(await readFile(command, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    expect((await run(command)).stdout).toBe('7.8.9 7.8.9\n');
  });

  test('says in one line what is wrong with the sources', async () => {
    await place('agent/main.ts', "import './missing.ts';\n");
    const { code, stderr } = await runNode(await placeScript('bundle.mjs'));
    expect(code).toBe(1);
    expect(stderr).toBe(
      'Error: cannot bundle the agent: agent/main.ts:1: Could not resolve "./missing.ts"\n',
    );
  });
});

describe('the LMDB addon', () => {
  test('without a compiler, the message names the packages to install', async () => {
    await place('node_modules/lmdb/package.json', '{"version": "0.0.1", "main": "dist/index.cjs"}');
    await place('node_modules/lmdb/dist/index.cjs', '');
    const script = await placeScript('build-lmdb.cjs');
    const { code, stderr } = await runNode(script, { CC: 'no-such-compiler' });
    expect(code).toBe(1);
    expect(stderr).toContain('no C/C++ compiler (no-such-compiler not found)');
    expect(stderr).toContain('apt-get install gcc g++');
  });

  test('sources that are not the ones we change are refused', async () => {
    await place('node_modules/lmdb/package.json', '{"version": "9.9.9", "main": "dist/index.cjs"}');
    await place('node_modules/lmdb/dist/index.cjs', '');
    await place('node_modules/lmdb/src/env.cpp', 'int EnvWrap::openEnv() {}\n');
    const script = await placeScript('build-lmdb.cjs');
    const { code, stderr } = await runNode(script, { CC: 'true', CXX: 'true' });
    expect(code).toBe(1);
    expect(stderr).toContain('src/env.cpp of this version does not contain what we change');
    expect(stderr).toContain('Try: npm ci');
  });
});
