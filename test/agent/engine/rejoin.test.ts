import fs from 'node:fs';
import { formatObjectName, parseObjectName } from '../../../protocol/object-name.ts';
import { bytesBody } from '../../../storage/bodies.ts';
import { SIGNAL, TestCompactor } from '../../support/compaction.ts';
import { hostSleep } from '../../support/engine-host.ts';
import { scratchFolder } from '../../support/lmdb.ts';
import {
  close,
  DAY_MS,
  deletedAndSwept,
  inStep,
  liveOn,
  RETENTION_MS,
  storedBy,
  sweeping,
  type World,
} from '../../support/rejoin-world.ts';

const folder = scratchFolder();
afterAll(() => fs.rmSync(folder, { recursive: true }));

test('a host that was away too long does not bring a deleted entry back', async () => {
  const world = await inStep(folder);
  const { a, clock, events } = world;
  await deletedAndSwept(world);
  await a.start({}, { sweeping: world.sweeping });
  expect(events).toEqual(['began', 'dropped 1, stamped 0']);
  expect(a.values()).toEqual({});
  clock.advanceMs(1);
  a.write('x', 'y');
  await a.eventually(async () => (await storedBy(world, 'a')).length > 0);
  await a.stop();
  // Done once, it is done.
  await a.start({}, { sweeping: world.sweeping });
  expect(events).toHaveLength(2);
  await close(world);
});

test('less than half the retention away, nothing is read again', async () => {
  const world = await inStep(folder);
  world.clock.advanceMs(RETENTION_MS / 2 - 1000);
  await world.a.start({}, { sweeping: world.sweeping });
  expect(world.events).toEqual([]);
  await close(world);
});

test('nothing is dropped when nobody else has written since', async () => {
  const world = await inStep(folder);
  await world.b.stop();
  for (const name of await storedBy(world, 'a')) {
    await world.memory.delete(name, SIGNAL);
  }
  world.clock.advanceMs(RETENTION_MS);
  await world.a.start({}, { sweeping: world.sweeping });
  expect(world.events).toEqual(['began', 'dropped 0, stamped 0']);
  expect(world.a.values()).toEqual({ k: 'v' });
  await close(world);
});

test('objects that the vector covers are read, those of the own earlier runs too', async () => {
  const world = await inStep(folder);
  const { a, b, clock } = world;
  await liveOn(world, b);
  clock.advanceMs(1);
  b.write('other', '1');
  await b.eventually(async () => (await storedBy(world, 'b')).length > 0);
  await a.start({}, { sweeping: world.sweeping });
  expect(world.events).toEqual(['began', 'dropped 0, stamped 0']);
  expect(a.values()).toEqual({ k: 'v', other: '1' });
  await close(world);
});

test('objects of the own running run are read', async () => {
  const world = await inStep(folder);
  const { a, b, clock, events } = world;
  await a.start({}, { sweeping: world.sweeping });
  clock.advanceMs(1000);
  a.write('mine', 'm');
  await a.eventually(async () => (await storedBy(world, 'a')).length === 2);
  await liveOn(world, b);
  clock.advanceMs(1);
  b.write('other', '1');
  await b.eventually(async () => (await storedBy(world, 'b')).length > 0);
  a.engine.noteListing();
  await a.eventually(() => events.length >= 2);
  expect(events).toEqual(['began', 'dropped 0, stamped 0']);
  await a.eventually(() => 'other' in a.values());
  expect(a.values()).toEqual({ k: 'v', mine: 'm', other: '1' });
  await close(world);
});

test('an object that goes away while it is to be read makes everything be listed anew', async () => {
  const world = await inStep(folder);
  const { a, b, clock, events, memory, store } = world;
  await liveOn(world, b);
  clock.advanceMs(1);
  b.write('other', '1');
  await b.eventually(async () => (await storedBy(world, 'b')).length > 0);
  const own = (await storedBy(world, 'a'))[0] ?? '';
  const compactor = new TestCompactor(memory);
  compactor.nowNs = clock.nowNs();
  let folded = false;
  const get = store.get.bind(store);
  store.get = async (name, options) => {
    // Between the listing and the reading the compactor folds and deletes it: the vector covers it all the same.
    if (name === own && !folded) {
      folded = true;
      await compactor.run();
      compactor.advanceMs(1000);
      await compactor.run();
    }
    return get(name, options);
  };
  await a.start({}, { sweeping: world.sweeping });
  expect(folded).toBe(true);
  expect(await storedBy(world, 'a')).toEqual([]);
  expect(events).toEqual(['began', 'dropped 0, stamped 0']);
  expect(a.values()).toEqual({ k: 'v', other: '1' });
  await close(world);
});

test('unsent changes are kept; those too old to be ordered get the time of the rejoin', async () => {
  const world = await inStep(folder);
  const { a, clock, events } = world;
  clock.advanceMs(1000);
  a.write('unsent', 'u');
  await deletedAndSwept(world);
  await a.start({}, { sweeping: world.sweeping });
  expect(events).toEqual(['began', 'dropped 1, stamped 1']);
  expect(a.values()).toEqual({ unsent: 'u' });
  expect(a.entries()['unsent']?.ts).toBe(clock.nowNs());
  await a.eventually(async () => (await storedBy(world, 'a')).length > 0);
  await close(world);
});

test('a host that only receives keeps the times of its own changes', async () => {
  const world = await inStep(folder);
  const { a, clock, events } = world;
  clock.advanceMs(1000);
  const writtenNs = clock.nowNs();
  a.write('local', 'l');
  await deletedAndSwept(world);
  await a.start({ receiveOnly: true }, { sweeping: world.sweeping });
  expect(events).toEqual(['began', 'dropped 1, stamped 0']);
  expect(a.entries()).toMatchObject({ local: { value: 'l', ts: writtenNs } });
  await close(world);
});

test('while an object cannot be read it merges and uploads, but drops nothing, and tries again', async () => {
  const world = await inStep(folder);
  const { a, b, clock, events, memory, store } = world;
  await liveOn(world, b);
  clock.advanceMs(1);
  b.write('other', '1');
  await b.eventually(async () => (await storedBy(world, 'b')).length > 0);
  const time = clock.nowNs() - 1n;
  const bad = formatObjectName({
    database: 'main',
    instance: 'c',
    timeNs: time,
    run: 'crun',
    seq: 1n,
    kind: 'delta',
  });
  await memory.create(bad, bytesBody(Buffer.from('damaged')), SIGNAL);
  let cleanings = 0;
  let pauses = 0;
  const settings = { intervalMs: 1, mustKeepMs: 0, removeOldInstancesMs: 0 };
  const noop = () => undefined;
  const observer = { listFailed: noop, deleted: noop, deleteFailed: noop, finished: noop };
  await a.start(
    {},
    {
      sweeping: sweeping(events, { sweeps: true }),
      cleaning: { settings, observer: { ...observer, listed: () => (cleanings += 1) } },
      sleep: async (ms, signal) => {
        if (ms === 1000) {
          pauses += 1;
        }
        await hostSleep(ms, signal);
      },
    },
  );
  await a.eventually(() => pauses > 6);
  expect(cleanings).toBe(0);
  expect(events).toEqual(['began', expect.stringMatching(/^postponed: .*damaged/)]);
  expect(a.values()).toEqual({ k: 'v', other: '1' });
  clock.advanceMs(1);
  a.write('mine', 'm');
  await a.eventually(async () => (await storedBy(world, 'a')).length === 2);
  // Not again and again.
  const lists = store.calls.list;
  a.engine.noteListing();
  await a.eventually(() => store.calls.list > lists);
  expect(events).toHaveLength(2);
  await memory.delete(bad, SIGNAL);
  clock.advanceMs(11 * 60_000);
  a.engine.noteListing();
  await a.eventually(() => events.some((event) => event.startsWith('dropped')));
  expect(events.slice(2, 4)).toEqual(['began', 'dropped 0, stamped 0']);
  expect(parseObjectName(bad)).toBeDefined();
  await close(world);
});

test('nothing is uploaded before the rejoin was tried', async () => {
  const world = await inStep(folder);
  const { a, clock, events, store } = world;
  clock.advanceMs(RETENTION_MS);
  a.write('unsent', 'u');
  const before = store.calls.create;
  store.plan = (call) => (call === 'list' ? 'fail' : 'none');
  await a.start({}, { sweeping: world.sweeping, wait: false });
  await a.eventually(() => events.some((event) => event.startsWith('postponed')));
  expect(store.calls.create).toBe(before);
  store.plan = () => 'none';
  await a.eventually(async () => (await storedBy(world, 'a')).length === 2);
  await close(world);
});

test('a running host whose last pass is too long ago neither uploads nor cleans before it rejoins', async () => {
  const world = await inStep(folder);
  const { a, clock, events, store } = world;
  let cleanings = 0;
  let pauses = 0;
  const noop = () => undefined;
  await a.start(
    {},
    {
      sweeping: world.sweeping,
      cleaning: {
        settings: { intervalMs: 1, mustKeepMs: DAY_MS, removeOldInstancesMs: DAY_MS },
        observer: {
          listed: () => (cleanings += 1),
          listFailed: noop,
          deleted: noop,
          deleteFailed: noop,
          finished: noop,
        },
      },
      sleep: async (ms, signal) => {
        if (ms === 1000) {
          pauses += 1;
        }
        await hostSleep(ms, signal);
      },
    },
  );
  await a.eventually(() => cleanings > 0);
  clock.advanceMs(RETENTION_MS);
  const paused = pauses;
  await a.eventually(() => pauses > paused + 2);
  const before = { cleanings, created: store.calls.create };
  a.write('mine', 'm');
  await a.eventually(() => pauses > paused + 10);
  expect({ cleanings, created: store.calls.create }).toEqual(before);
  a.engine.noteListing();
  await a.eventually(async () => (await storedBy(world, 'a')).length === 2);
  await a.eventually(() => cleanings > before.cleanings);
  expect(events).toEqual(['began', 'dropped 0, stamped 0']);
  await close(world);
});

/** Everything in the bucket goes into a base of now; no tombstone is dropped. */
async function compactAll({ clock, store }: World): Promise<void> {
  const compactor = new TestCompactor(store);
  compactor.nowNs = clock.nowNs();
  await compactor.run();
}

test('the sweeper of a running engine drops old tombstones, uploaded and merged ones', async () => {
  const world = await inStep(folder);
  const { b, clock } = world;
  clock.advanceMs(1000);
  b.write('k', undefined);
  await b.eventually(async () => (await storedBy(world, 'b')).length > 0);
  await liveOn(world, b);
  await b.stop();
  const events: string[] = [];
  // The bucket still has what was deleted, and a fresh host reads it: the tombstone must stay.
  await b.start({}, { sweeping: sweeping(events, { sweeps: true }) });
  await b.eventually(() => events.length > 0);
  expect(events[0]).toBe('swept 0');
  await b.stop();
  await compactAll(world);
  events.length = 0;
  await b.start({}, { sweeping: sweeping(events, { sweeps: true }) });
  await b.eventually(() => events.length > 0);
  expect(events[0]).toBe('swept 1');
  expect(b.entries()).toEqual({});
  expect(b.warnings).toEqual([]);
  await close(world);
});

/** `b` changes another key; resolves when that is stored. */
async function change(world: World, value: string): Promise<void> {
  const before = (await storedBy(world, 'b')).length;
  world.b.write('other', value);
  await world.b.eventually(async () => (await storedBy(world, 'b')).length > before);
}

test('what a full snapshot covers keeps tombstones while it is there: a host that rejoins reads it', async () => {
  const world = await inStep(folder);
  const { a, b, clock, memory, store } = world;
  await b.stop();
  clock.advanceMs(1000);
  const events: string[] = [];
  await b.start({ maxDeltas: 1 }, { sweeping: sweeping([]) });
  b.write('k', undefined);
  await b.eventually(async () => (await storedBy(world, 'b')).length >= 1);
  clock.advanceMs(1000);
  await change(world, '1');
  await liveOn(world, b);
  await b.stop();
  // The object of `a`, whose entry was deleted, is still there: it could not be cleaned, or `a` is not silent for long enough.
  await b.start({ maxDeltas: 1 }, { sweeping: sweeping(events, { sweeps: true }) });
  clock.advanceMs(1000);
  await change(world, '2');
  await change(world, '3');
  const lists = store.calls.list;
  b.engine.noteListing();
  await b.eventually(() => store.calls.list > lists);
  const sweeps = events.length;
  await b.eventually(() => events.length > sweeps + 5);
  // Its next full snapshot holds what the sweeper has left.
  clock.advanceMs(1000);
  for (const value of ['4', '5', '6']) {
    await change(world, value);
  }
  await b.stop();
  // The cleaner of `b` has removed what its newest full snapshot supersedes.
  const full = (await storedBy(world, 'b'))
    .filter((name) => parseObjectName(name)?.kind === 'snapshot')
    .at(-1);
  for (const name of await storedBy(world, 'b')) {
    if (name !== full) {
      await memory.delete(name, SIGNAL);
    }
  }
  await a.start({}, { sweeping: world.sweeping });
  await a.eventually(() => a.values()['other'] !== undefined);
  expect(a.values()['k']).toBeUndefined();
  await close(world);
});

test('a damaged object keeps tombstones from being dropped: it may hold something older', async () => {
  const world = await inStep(folder);
  const { b, clock, memory } = world;
  clock.advanceMs(1000);
  b.write('k', undefined);
  await b.eventually(async () => (await storedBy(world, 'b')).length > 0);
  await liveOn(world, b);
  await b.stop();
  await compactAll(world);
  const bad = formatObjectName({
    database: 'main',
    instance: 'c',
    timeNs: clock.nowNs(),
    run: 'crun',
    seq: 1n,
    kind: 'delta',
  });
  await memory.create(bad, bytesBody(Buffer.from('damaged')), SIGNAL);
  const events: string[] = [];
  let pauses = 0;
  const sleep: typeof hostSleep = async (ms, signal) => {
    if (ms === 1000) {
      pauses += 1;
    }
    await hostSleep(ms, signal);
  };
  await b.start({}, { sweeping: sweeping(events, { sweeps: true }), sleep });
  // The sweeper wakes up again and again, and may not begin.
  await b.eventually(() => pauses > 3);
  expect(events).toEqual([]);
  expect(b.values()).toEqual({ k: undefined });
  await memory.delete(bad, SIGNAL);
  b.engine.noteListing();
  await b.eventually(() => events.length > 0);
  expect(b.values()).toEqual({});
  await close(world);
});
