import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { open } from 'lmdb';
import { readReaderPids } from '../../agent/guard/lock-table.ts';
import { freePort } from '../../demo/free-port.ts';

const BUNDLE = join(__dirname, '../../dist/lightningstream.cjs');
const LMDB = require.resolve('lmdb');

let folder: string;
let port: number;
const children = new Set<ChildProcess>();
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lock-table-'));
  port = await freePort();
  writeFileSync(
    join(folder, 'lightningstream.yaml'),
    `instance: a
lmdbs: {main: {path: data.lmdb, schema_tracks_changes: true, options: {no_subdir: true}}}
storage: {type: fs, options: {root_path: store}}
http: {address: "127.0.0.1:${port}"}
lmdb_poll_interval: 100ms
storage_poll_interval: 100ms
`,
  );
  const root = open({ path: join(folder, 'data.lmdb'), noSubdir: true, overlappingSync: false });
  root.openDB({ name: 'records' });
  await root.close();
});
afterEach(() => {
  for (const child of children) {
    child.kill('SIGKILL');
  }
  children.clear();
  rmSync(folder, { recursive: true, force: true });
});

type Running = { child: ChildProcess; ended: Promise<number | null>; log: () => string };

function start(command: string, args: readonly string[]): Running {
  const child = spawn(command, args, { cwd: folder });
  children.add(child);
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  return { child, ended, log: () => text };
}

const agent = (...args: readonly string[]) => start(process.execPath, [BUNDLE, ...args]);

/** A program that reads the LMDB as PowerDNS does: it has a slot in the reader table until it ends. */
const READER = `
  const root = require(${JSON.stringify(LMDB)}).open({path: 'data.lmdb', noSubdir: true, overlappingSync: false});
  root.useReadTransaction();
  console.log('reads as ' + process.pid);
  setInterval(() => {}, 1000);
`;

async function until(running: Running, text: string): Promise<void> {
  for (let i = 0; !running.log().includes(text); i++) {
    if (i > 1500 || running.child.exitCode !== null) {
      throw new Error(`never said "${text}": ${running.log()}`);
    }
    await sleep(20);
  }
}

async function startReader(): Promise<Running> {
  const reader = start(process.execPath, ['-e', READER]);
  await until(reader, 'reads as');
  return reader;
}

function healthz(): Promise<{ warnings: Record<string, string> }> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path: '/healthz' }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve(JSON.parse(text) as { warnings: Record<string, string> }));
    }).on('error', reject);
  });
}

const lockPids = () => readReaderPids(join(folder, 'data.lmdb-lock'));

test('the table names the readers there are', async () => {
  const one = await startReader();
  const two = await startReader();
  expect(new Set(lockPids())).toEqual(new Set([one.child.pid, two.child.pid]));
});

test('a second agent on the same LMDB is refused, says whose it is, and the first goes on', async () => {
  const first = agent('sync');
  await until(first, 'Initial sync done');
  const second = agent('sync', '-i', 'b');
  expect(await second.ended).toBe(1);
  expect(second.log()).toMatch(
    new RegExp(
      `^Error: "lightningstream" \\(instance a, process id ${first.child.pid} on \\S+\\) works on data.lmdb already\\nTry: Stop it first`,
      'm',
    ),
  );
  const drop = agent('drop-shadow');
  expect(await drop.ended).toBe(1);
  expect(drop.log()).toContain('works on data.lmdb already');
  first.child.kill('SIGTERM');
  expect(await first.ended).toBe(0);
  expect(readdirSync(folder).filter((name) => name.includes('-agent'))).toEqual([]);
});

test('of many that start at once exactly one runs', async () => {
  const all = Array.from({ length: 4 }, () => agent('sync'));
  while (all.filter(({ child }) => child.exitCode === null).length > 1) {
    await sleep(20);
  }
  const running = all.filter(({ child }) => child.exitCode === null);
  expect(running).toHaveLength(1);
  await until(running[0] as Running, 'Initial sync done');
});

test('what a killed agent leaves behind keeps nobody away', async () => {
  const first = agent('sync');
  await until(first, 'Initial sync done');
  first.child.kill('SIGKILL');
  await first.ended;
  expect(existsSync(join(folder, 'data.lmdb-agent'))).toBe(true);
  const second = agent('sync', '--only-once');
  expect(await second.ended).toBe(0);
  expect(second.log()).not.toContain('level=warning');
});

test('the slots of dead readers are cleared, those of living ones stay', async () => {
  const alive = await startReader();
  const dead = await startReader();
  dead.child.kill('SIGKILL');
  await dead.ended;
  const running = agent('sync');
  await until(running, 'Initial sync done');
  expect(running.log()).toMatch(
    /level=info .*cleared the readers of dead processes" db=main readers=1/,
  );
  expect(lockPids()).toContain(alive.child.pid);
  expect(lockPids()).not.toContain(dead.child.pid);
  expect((await healthz()).warnings).toEqual({});
});

// Name spaces of process ids: only root may make them.
const canUnshare = spawnSync('unshare', ['--pid', '--fork', 'true']).status === 0;
const describeInNameSpace = canUnshare ? describe : describe.skip;

describeInNameSpace('in a process id name space of its own', () => {
  function startInNameSpace(script: string): Running {
    return start('unshare', [
      '--pid',
      '--fork',
      '--mount-proc',
      '--kill-child',
      'sh',
      '-c',
      script,
    ]);
  }
  const quoted = (text: string) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const BURN = (count: number) => `for i in $(seq ${count}); do /bin/true; done;`;

  test('a reader in another process id name space is warned of', async () => {
    const reader = startInNameSpace(`${BURN(20)} ${process.execPath} -e ${quoted(READER)}`);
    await until(reader, 'reads as');
    const running = agent('sync');
    await until(running, 'Initial sync done');
    const warning = /process \d+ reads this LMDB from another process id name space/;
    expect(running.log()).toMatch(warning);
    expect((await healthz()).warnings['main_process_ids']).toMatch(warning);
  });

  test('the same process id in two name spaces is refused; --minimum-pid helps', async () => {
    const reader = startInNameSpace(`exec ${process.execPath} -e ${quoted(READER)}`);
    await until(reader, 'reads as 1');
    const clash = startInNameSpace(`exec ${process.execPath} ${BUNDLE} sync --only-once`);
    expect(await clash.ended).toBe(1);
    expect(clash.log()).toContain(
      'Error: process id 1 of this agent is also that of another process',
    );
    expect(clash.log()).toContain('--minimum-pid 50');
    expect(lockPids()).toEqual([1]);
    const raised = startInNameSpace(
      `exec ${process.execPath} ${BUNDLE} sync --only-once --minimum-pid 50`,
    );
    expect(await raised.ended).toBe(0);
    expect(raised.log()).toContain('from another process id name space');
  });

  test('a killed predecessor with our own process id is cleared, not taken for a clash', async () => {
    const reader = startInNameSpace(`exec ${process.execPath} -e ${quoted(READER)}`);
    await until(reader, 'reads as 1');
    reader.child.kill('SIGKILL');
    await reader.ended;
    expect(lockPids()).toEqual([1]);
    const successor = startInNameSpace(`exec ${process.execPath} ${BUNDLE} sync --only-once`);
    expect(await successor.ended).toBe(0);
    expect(successor.log()).toContain('cleared the readers of dead processes');
  });
});
