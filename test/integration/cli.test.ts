import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from '../../demo/free-port.ts';

jest.setTimeout(60_000);
const bundle = join(__dirname, '../../dist/lightningstream.cjs');
const fixture = join(__dirname, '../fixtures/a-native-small/data.mdb');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cli-process-'));
  mkdirSync(join(folder, 'lmdb'));
  cpSync(fixture, join(folder, 'lmdb', 'data.mdb'));
  writeFileSync(
    join(folder, 'lightningstream.yaml'),
    `lmdbs: {main: {path: lmdb, schema_tracks_changes: true}}
storage: {type: fs, options: {root_path: store}}
`,
  );
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

type Ended = { code: number | null; signal: string | null; out: string; err: string };

function start(...args: readonly string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [bundle, ...args], { cwd: folder });
  const ended = new Promise<Ended>((resolve) => {
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    child.on('close', (code, signal) => resolve({ code, signal, out, err }));
  });
  return { child, ended };
}

test.each([
  [['--help'], 0],
  [['stats'], 0],
  [['dump'], 0],
  [['snapshots', 'list'], 0],
  [['snapshots', 'get', 'nothing'], 1],
  [['nonsense'], 1],
  [['sync', '--nonsense'], 1],
  [['sync', '-c', 'missing.yaml'], 1],
])('%j ends with %i', async (args, code) => {
  expect((await start(...args).ended).code).toBe(code);
});

test('storage that cannot be reached is such a line too, and nothing else is printed', async () => {
  const port = await freePort();
  writeFileSync(
    join(folder, 's3.yaml'),
    `lmdbs: {main: {path: lmdb, schema_tracks_changes: true}}
storage: {type: s3, options: {bucket: b, access_key: a, secret_key: s, endpoint_url: "http://127.0.0.1:${port}"}}
`,
  );
  const { code, out, err } = await start('snapshots', 'list', '-c', 's3.yaml').ended;
  expect({ code, out }).toEqual({ code: 1, out: '' });
  expect(err).toMatch(/^Error: cannot list .*ECONNREFUSED.*\nTry: .*\n$/);
});

test('an error is one line that says what is wrong, and one that says what to do', async () => {
  writeFileSync(join(folder, 'bad.yaml'), 'lmdbs: {main: {path: x}}\nstorage_poll_intervall: 1s\n');
  const { code, out, err } = await start('sync', '-c', 'bad.yaml').ended;
  expect({ code, out, err }).toEqual({
    code: 1,
    out: '',
    err: 'Error: bad.yaml:2: unknown key `storage_poll_intervall`\nTry: Did you mean `storage_poll_interval`?\n',
  });
});

test('a reader that goes away ends the output, without an error', async () => {
  const { child, ended } = start('dump');
  child.stdout?.destroy();
  const { code, err } = await ended;
  expect({ code, err }).toEqual({ code: 0, err: '' });
});

test('a slow reader gets all of a long output', async () => {
  const names = Array.from({ length: 3000 }, (_, i) => `${'x'.repeat(60)}-${10_000 + i}`);
  mkdirSync(join(folder, 'store'));
  names.forEach((name) => writeFileSync(join(folder, 'store', name), ''));
  // The shell's reader begins only when the pipe has long been full.
  const script = `"${process.execPath}" "${bundle}" snapshots list | (sleep 1; cat)`;
  const { stdout } = await promisify(execFile)('sh', ['-c', script], { cwd: folder });
  expect(stdout).toBe(names.map((name) => `${name}\n`).join(''));
});

test('--timeout ends a sync that waits for its marker file, with 75', async () => {
  const waiting = start('sync', '--wait-for-marker-file', 'never', '--timeout', '300ms');
  const { code, err } = await waiting.ended;
  expect(code).toBe(75);
  expect(err).toContain(
    'Error: not done after 300ms: it waits for the marker file never, which the storage does not have\n',
  );
  expect(err).toContain('msg="stopped before syncing began"');
});

test('SIGTERM while it waits for the marker file is a clean end', async () => {
  const { child, ended } = start('sync', '--debug', '--wait-for-marker-file', 'never');
  // Its first output shows that signals are handled; before that the default would apply.
  await new Promise((resolve) => child.stderr?.once('data', resolve));
  child.kill('SIGTERM');
  expect((await ended).code).toBe(0);
});
