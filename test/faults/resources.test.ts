import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { folderStorage, type AgentProcess } from '../../demo/agent-process.ts';
import { Application } from '../../demo/application.ts';
import { contents, eventually, Fleet } from '../support/hosts.ts';

jest.setTimeout(90_000);

const isRoot = process.getuid?.() === 0;
const withRoot = isRoot ? describe : describe.skip;
/** Nobody's, on Debian and elsewhere. */
const NOBODY = 65_534;
const QUICK =
  'storage_retry_interval: 200ms\nlmdb_poll_interval: 200ms\nstorage_poll_interval: 200ms\n';

let fleet: Fleet;
const mounts: string[] = [];
beforeEach(async () => {
  fleet = await Fleet.open();
});
afterEach(async () => {
  await fleet.close().catch(() => undefined);
  for (const path of mounts.splice(0)) {
    spawnSync('umount', ['-l', path]);
  }
});

/** A file system in memory, of so many bytes. */
function smallDisk(name: string, bytes: number): string {
  const path = join(fleet.folder, name);
  mkdirSync(path);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path]);
  mounts.push(path);
  return path;
}

/** Takes all the room that is left; resolves with what gives it back. */
function fill(path: string): () => void {
  const file = join(path, 'filler');
  spawnSync('dd', ['if=/dev/zero', `of=${file}`, 'bs=4096']);
  return () => rmSync(file);
}

const problems = async (agent: AgentProcess) => {
  const { errors = {}, warnings = {} } = (await agent.health()) as {
    errors?: Record<string, string>;
    warnings?: Record<string, string>;
  };
  return JSON.stringify({ ...errors, ...warnings });
};

async function expectEventually(
  what: string,
  agents: readonly AgentProcess[],
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  await eventually(condition, { what, agents, timeoutMs: 30_000 });
  for (const agent of agents) {
    expect(agent.running).toBe(true);
  }
}

withRoot('a disk that is full', () => {
  test('of the storage: changes wait, it is said where and why, and they go out when there is room', async () => {
    const bucket = smallDisk('disk', 1024 * 1024);
    const health = 'health: {storage_store: {warn_duration: 1s, error_duration: 1h}}\n';
    const storage = { storage: folderStorage(bucket), settings: `${QUICK}${health}` };
    const [a, b] = [fleet.application('a'), fleet.application('b')];
    const agents = [await fleet.startAgent('a', storage), await fleet.startAgent('b', storage)];
    const [agent] = agents as [AgentProcess, AgentProcess];
    for (const one of agents) {
      await one.ready();
    }
    a.write([{ key: 'first', value: '1' }]);
    await expectEventually('the first in b', agents, () => b.read('first') !== undefined);
    const free = fill(bucket);
    // More than what is left of the last block.
    a.write(
      Array.from({ length: 500 }, (_, i) => ({ key: `key-${i}`, value: `${i * 7919}`.repeat(9) })),
    );
    await expectEventually('no room in the log', [agent], async () =>
      /ENOSPC|no space/i.test(await agent.log()),
    );
    await expectEventually('no room on /healthz', [agent], async () =>
      /ENOSPC|no space/i.test(await problems(agent)),
    );
    expect(readdirSync(bucket).filter((name) => name.includes('__a__')).length).toBe(1);
    free();
    await expectEventually('all in b', agents, () => b.count() === 501);
    await expectEventually(
      'no problem any more',
      [agent],
      async () => (await problems(agent)) === '{}',
    );
  });

  test('of the LMDB: nothing is half applied, and it goes on when there is room', async () => {
    const disk = smallDisk('disk', 2 * 1024 * 1024);
    const a = fleet.application('a');
    const file = join(disk, 'b.lmdb');
    using b = Application.open(file, { noSync: true, mapSizeBytes: 64 * 1024 * 1024 });
    b.write([{ key: 'own', value: 'x' }]);
    const agents = [
      await fleet.startAgent('a', { settings: QUICK }),
      await fleet.startAgent('b', { settings: QUICK, databases: { main: file }, mapSize: '64MB' }),
    ];
    const [, agent] = agents as [AgentProcess, AgentProcess];
    for (const one of agents) {
      await one.ready();
    }
    await expectEventually('own in a', agents, () => a.read('own') !== undefined);
    const free = fill(disk);
    a.write(
      Array.from({ length: 3000 }, (_, i) => ({ key: `key-${i}`, value: `${i}`.repeat(20) })),
    );
    await expectEventually('it is said', [agent], async () =>
      /main_lmdb_failed/.test(await problems(agent)),
    );
    expect(b.count()).toBe(1);
    free();
    await expectEventually('all in b', agents, () => b.count() === 3001);
    expect(contents(b)).toEqual(contents(a));
    await expectEventually(
      'no problem any more',
      [agent],
      async () => (await problems(agent)) === '{}',
    );
    b.write([{ key: 'after', value: 'y' }]);
    await expectEventually('it sends again', agents, () => a.read('after') !== undefined);
  });
});

withRoot('files that may not be used', () => {
  const asNobody = [
    'setpriv',
    `--reuid=${NOBODY}`,
    `--regid=${NOBODY}`,
    '--clear-groups',
    process.execPath,
    join(process.cwd(), 'dist/lightningstream.cjs'),
  ];

  test.each([
    ['a lock file of somebody else', (file: string) => chmodSync(`${file}-lock`, 0o600)],
    ['an LMDB that may only be read', (file: string) => chmodSync(file, 0o444)],
  ])(
    '%s: one line that names it, nothing is changed, and the next start works',
    async (_what, spoil) => {
      chmodSync(fleet.folder, 0o777);
      fleet.application('a').write([{ key: 'zone', value: '1' }]);
      const file = fleet.lmdbFile('a');
      spoil(file);
      const agent = await fleet.startAgent('a', {
        command: asNobody,
        verb: ['sync', '--only-once'],
      });
      await expect(agent.ended(20_000)).resolves.toBe(1);
      const lines = (await agent.log()).split('\n').filter((line) => /^(Error|Try): /.test(line));
      expect(lines).toHaveLength(2);
      expect(lines[0]).toContain(file);
      chownSync(file, NOBODY, NOBODY);
      chmodSync(file, 0o600);
      chownSync(`${file}-lock`, NOBODY, NOBODY);
      const again = await fleet.startAgent('a', {
        command: asNobody,
        verb: ['sync', '--only-once'],
      });
      await expect(again.ended(20_000)).resolves.toBe(0);
      expect(readdirSync(fleet.bucket).some((name) => name.includes('__a__'))).toBe(true);
    },
  );
});

test('without a file descriptor left it waits and says so, and goes on when there are some', async () => {
  const [a, b] = [fleet.application('a'), fleet.application('b')];
  const agents = [
    await fleet.startAgent('a', { settings: QUICK }),
    await fleet.startAgent('b', { settings: QUICK }),
  ];
  const [, agent] = agents as [AgentProcess, AgentProcess];
  for (const one of agents) {
    await one.ready();
  }
  const open = readdirSync(`/proc/${agent.pid}/fd`).length;
  const limit = (count: number) =>
    execFileSync('prlimit', ['--pid', String(agent.pid), `--nofile=${count}:`]);
  limit(open - 2);
  a.write([{ key: 'zone', value: '1' }]);
  await expectEventually('it is said', [agent], async () =>
    /EMFILE|too many open files/i.test(await agent.log()),
  );
  limit(1024);
  await expectEventually('the zone in b', agents, () => b.read('zone') !== undefined);
  b.write([{ key: 'other', value: '2' }]);
  await expectEventually('the other in a', agents, () => a.read('other') !== undefined);
  await expectEventually(
    'no problem any more',
    [agent],
    async () => (await problems(agent)) === '{}',
  );
});

test('a reader that never ends pins pages and stops nothing', async () => {
  const [a, b] = [fleet.application('a'), fleet.application('b')];
  a.write([{ key: 'zone', value: 'before' }]);
  const agents = [
    await fleet.startAgent('a', { settings: QUICK }),
    await fleet.startAgent('b', { settings: QUICK }),
  ];
  for (const one of agents) {
    await one.ready();
  }
  const reader = await fleet.startChild('reader.ts', fleet.lmdbFile('b'));
  for (let i = 0; i < 300; i += 1) {
    a.write([{ key: `key-${i % 40}`, value: `${i}` }]);
    if (i % 10 === 0) {
      await sleep(10);
    }
  }
  await expectEventually('the last in b', agents, () => b.read('key-19')?.value === '299');
  expect(contents(b)).toEqual(contents(a));
  expect(reader.exitCode).toBeNull();
});

test('a signal ends it at any moment of its life, with nothing left undone', async () => {
  const application = fleet.application('a');
  for (let round = 0; round < 12; round += 1) {
    const agent = await fleet.startAgent('a');
    application.write([{ key: `round-${round}`, value: 'x' }]);
    // From before its code is loaded until it waits for the next change.
    await sleep(round * 60);
    const how = await agent.stop(round % 2 === 0 ? 'SIGTERM' : 'SIGINT');
    // Node itself ends it where none of our code has run yet.
    expect([0, 'SIGTERM', 'SIGINT']).toContain(how);
  }
  fleet.application('b');
  const other = [await fleet.startAgent('a'), await fleet.startAgent('b')];
  await expectEventually('all in b', other, () => fleet.application('b').count() === 12);
});
