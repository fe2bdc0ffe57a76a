import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { folderStorage, type AgentOptions, type AgentProcess } from '../../demo/agent-process.ts';
import { wallClockNs } from '../../demo/application.ts';
import { parseObjectName } from '../../protocol/object-name.ts';
import { dumpLmdb, PlainApplication } from '../support/shadow.ts';
import { contents, eventually, Fleet } from '../support/hosts.ts';

// Upstream's own binary beside ours, in one bucket. Its path: LIGHTNINGSTREAM_UPSTREAM.
const upstream = process.env.LIGHTNINGSTREAM_UPSTREAM;
const describeUpstream = upstream === undefined ? describe.skip : describe;

jest.setTimeout(120_000);
const run = promisify(execFile);
const BUNDLE = join(__dirname, '../../dist/lightningstream.cjs');

type Kind = 'ours' | 'theirs';
/** Keys that both know: the same file starts either. */
const COMMON =
  'lmdb_poll_interval: 100ms\nstorage_poll_interval: 100ms\nstorage_force_snapshot_interval: 4h\n';
const FOR_UPSTREAM = 'upstream_readers: true\nupstream_snapshot_min_interval: 200ms\n';

let fleet: Fleet;
let agents: Map<string, AgentProcess>;
/** What the last write of every key was, over all hosts. */
let expected: Record<string, string | null>;

beforeEach(async () => {
  fleet = await Fleet.open();
  agents = new Map();
  expected = {};
});
afterEach(() => fleet.close());

async function start(
  host: string,
  kind: Kind,
  more: Partial<AgentOptions> & { readonly common?: boolean } = {},
): Promise<AgentProcess> {
  const { settings = '', common = false, ...rest } = more;
  const ours = kind === 'ours' && !common ? FOR_UPSTREAM : '';
  const agent = await fleet.startAgent(host, {
    command: kind === 'theirs' ? [upstream ?? ''] : undefined,
    settings: `${COMMON}${ours}${settings}`,
    ...rest,
  });
  agents.set(host, agent);
  await agent.ready();
  return agent;
}

/** The application must be there first, so that agent and application agree on the map. */
function prepare(...hosts: readonly string[]): void {
  for (const host of hosts) {
    fleet.application(host);
  }
}

let lastNs = 0n;

/** One record on one host; later writes of a key win, whichever host they are made on. */
function write(host: string, key: string, value: string | null): void {
  // Two clocks of one machine: only so that no two writes have the same time.
  const now = wallClockNs();
  lastNs = now > lastNs ? now : lastNs + 1n;
  fleet.application(host).write([{ key, value: value ?? undefined }], { timestampNs: lastNs });
  expected[key] = value;
}

async function expectConverged(hosts: readonly string[], timeoutMs = 30_000): Promise<void> {
  const wanted = JSON.stringify(sorted(expected));
  for (const host of hosts) {
    await eventually(() => JSON.stringify(sorted(contents(fleet.application(host)))) === wanted, {
      what: `${host} holds what was written last (${Object.keys(expected).length} keys)`,
      agents: [...agents.values()],
      timeoutMs,
    });
  }
}

function sorted<T>(record: Readonly<Record<string, T>>): [string, T][] {
  return Object.entries(record).toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** What a dump says of entries: behind the head, where our objects say more, and without their age in seconds. */
function entriesOf(dump: string): string {
  return dump.slice(dump.indexOf('###')).replaceAll(/, \d+m?\d*s ago/g, '');
}

async function snapshots(): Promise<string[]> {
  return (await readdir(fleet.bucket))
    .filter((name) => parseObjectName(name)?.kind === 'snapshot')
    .toSorted();
}

/** Every host writes, replaces and deletes, also what others have written. */
async function everybodyWrites(hosts: readonly string[], rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    for (const host of hosts) {
      write(host, `${host}-${round}`, `of ${host}`);
      write(host, `shared-${round % 5}`, `${host} in round ${round}`);
      if (round > 1) {
        write(host, `${host}-${round - 2}`, round % 2 === 0 ? null : 'replaced');
      }
    }
    await sleep(40);
  }
}

describeUpstream('a fleet of ours and upstream’s agents', () => {
  const hosts = ['a', 'b', 'c', 'd'];
  const kindOf = (host: string): Kind => (host < 'c' ? 'ours' : 'theirs');

  test('ends equal when all write, replace and delete', async () => {
    prepare(...hosts);
    for (const host of hosts) {
      await start(host, kindOf(host));
    }
    await everybodyWrites(hosts, 25);
    await expectConverged(hosts);
    // What one kind deletes is gone on the other, whoever wrote it.
    write('a', 'c-24', null);
    write('d', 'b-24', null);
    await expectConverged(hosts);
  });

  test('upstream reads our large snapshots, and we theirs', async () => {
    prepare('a', 'c');
    const many = (host: string) => {
      const now = wallClockNs();
      const records = Array.from({ length: 20_000 }, (_, i) => ({
        key: `${host}-${i}`,
        value: `${i} of ${host}`.repeat(20),
      }));
      fleet.application(host).write(records, { timestampNs: now });
      for (const { key, value } of records) {
        expected[key] = value;
      }
    };
    many('a');
    many('c');
    await start('a', 'ours');
    await start('c', 'theirs');
    await expectConverged(['a', 'c']);
  });

  test('a host of either kind that is wiped gets everything back, its own entries too', async () => {
    prepare(...hosts);
    for (const host of hosts) {
      await start(host, kindOf(host));
    }
    await everybodyWrites(hosts, 10);
    await expectConverged(hosts);
    for (const host of ['b', 'd']) {
      await agents.get(host)?.stop('SIGKILL');
      await fleet.forget(host);
      prepare(host);
      await start(host, kindOf(host));
    }
    await expectConverged(hosts);
    write('b', 'after', 'the wipe');
    write('d', 'b-9', null);
    await expectConverged(hosts);
  });

  test('neither cleaner removes what a late host of either kind needs', async () => {
    const cleaning = {
      storage: `${folderStorage(fleet.bucket)}  cleanup: {enabled: true, interval: 1s, must_keep_interval: 1s, remove_old_instances_interval: 1h}\n`,
    };
    prepare(...hosts);
    for (const host of hosts) {
      await start(host, kindOf(host), cleaning);
    }
    await everybodyWrites(hosts, 40);
    await expectConverged(hosts);
    // Two of them will never write again; their objects must outlive them.
    await agents.get('b')?.stop();
    await agents.get('d')?.stop();
    await everybodyWrites(['a', 'c'], 40);
    await expectConverged(['a', 'c']);
    const before = await snapshots();
    await sleep(3_000);
    write('a', 'last', 'of a');
    write('c', 'last', 'of c');
    await expectConverged(['a', 'c']);
    await sleep(3_000);
    expect(await snapshots()).not.toEqual(before);
    prepare('e', 'f');
    await start('e', 'ours', cleaning);
    await start('f', 'theirs', cleaning);
    await expectConverged(['a', 'c', 'e', 'f']);
    // It was cleaned at all: without it there would be one snapshot for each of upstream's changes.
    expect((await snapshots()).length).toBeLessThan(30);
  });

  test('full snapshots for upstream come at a bounded rate, however much is written', async () => {
    const gapMs = 1_500;
    prepare('a', 'c');
    await start('a', 'ours', {
      common: true,
      settings: `upstream_readers: true\nupstream_snapshot_min_interval: ${gapMs}ms\n`,
    });
    await start('c', 'theirs');
    for (let i = 0; i < 200; i += 1) {
      write('a', `key-${i}`, `value ${i}`);
      await sleep(25);
    }
    await expectConverged(['c']);
    const times = (await snapshots())
      .map((name) => parseObjectName(name))
      .filter((name) => name?.instance === 'a')
      .map((name) => Number((name?.timeNs ?? 0n) / 1_000_000n));
    const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
    expect(times.length).toBeGreaterThan(2);
    // The first object of all and the first for upstream may be close.
    expect(gaps.slice(1).filter((gap) => gap < gapMs)).toEqual([]);
  });

  test('the one takes over LMDB, name and configuration file of the other, and back', async () => {
    prepare('a', 'c');
    await start('c', 'theirs');
    let round = 0;
    for (const kind of ['theirs', 'ours', 'theirs', 'ours'] as const) {
      round += 1;
      // Written while no agent runs, too.
      write('a', `before-${round}`, `round ${round}`);
      const agent = await start('a', kind, { common: true });
      write('a', `during-${round}`, `round ${round}`);
      write('c', `from-c-${round}`, `round ${round}`);
      if (round > 1) {
        write('c', `before-${round - 1}`, null);
      }
      // Without the switch only upstream's agents tell upstream's: what ours has not told is told by the next.
      await expectConverged(kind === 'theirs' ? ['a', 'c'] : ['a']);
      await agent.stop();
    }
    const last = await start('a', 'theirs', { common: true });
    await expectConverged(['a', 'c']);
    await last.stop();
  });

  test('applications without headers, with duplicates, are synced both ways', async () => {
    const shadow = { databaseSettings: 'schema_tracks_changes: false\n    dupsort_hack: true' };
    const applications = new Map(
      ['a', 'c'].map((host) => [host, new PlainApplication(fleet.lmdbFile(host))]),
    );
    for (const application of applications.values()) {
      application.create('plain', 0);
      application.create('pairs', 4);
    }
    await start('a', 'ours', shadow);
    await start('c', 'theirs', shadow);
    const dbis = (host: string) =>
      JSON.stringify(
        dumpLmdb(fleet.lmdbFile(host)).filter(({ name }) => !name.startsWith('_sync')),
      );
    const expectEqual = (what: string, isThere: string) =>
      eventually(
        () => dbis('a') === dbis('c') && dbis('a').includes(Buffer.from(isThere).toString('hex')),
        {
          what,
          agents: [...agents.values()],
          timeoutMs: 30_000,
        },
      );
    let round = 0;
    for (const host of ['a', 'c', 'a', 'c']) {
      round += 1;
      const [now, before] = [`round ${round} of ${host}`, round - 1];
      applications.get(host)?.write((txn) => {
        txn.put('plain', `key-${round}`, now);
        txn.put('plain', 'shared', now);
        txn.put('pairs', 'name', now);
        txn.put('pairs', 'name', `second ${now}`);
        if (before > 0) {
          txn.remove('plain', `key-${before}`);
          txn.remove('pairs', 'name', `round ${before} of ${host === 'a' ? 'c' : 'a'}`);
        }
      });
      await expectEqual(`what was written in round ${round}`, now);
    }
    for (const application of applications.values()) {
      await application.close();
    }
  });

  test('commands print the same of each other’s objects and LMDBs', async () => {
    prepare('a', 'c');
    await start('a', 'ours');
    await start('c', 'theirs');
    await everybodyWrites(['a', 'c'], 6);
    await expectConverged(['a', 'c']);
    for (const agent of agents.values()) {
      await agent.stop();
    }
    const config = agents.get('c')?.configFile ?? '';
    const both = async (...args: readonly string[]): Promise<[string, string]> => {
      const [theirs, ours] = await Promise.all([
        run(upstream ?? '', ['--config', config, ...args]),
        run(process.execPath, [BUNDLE, '--config', config, ...args]),
      ]);
      return [ours.stdout, theirs.stdout];
    };
    const names = await snapshots();
    const newest = ['a', 'c'].map(
      (host) => names.findLast((name) => name.includes(`__${host}__`)) ?? '',
    );
    expect(newest.every((name) => name !== '')).toBe(true);
    for (const name of newest) {
      const [ours, theirs] = await both('snapshots', 'dump', name);
      expect(entriesOf(ours)).toBe(entriesOf(theirs));
      expect(ours).toContain('shared-1');
    }
    const [ours, theirs] = await both('dump');
    expect(entriesOf(ours)).toBe(entriesOf(theirs));
    expect(ours).toContain('shared-1');
  });
});
