import fs from 'node:fs';
import { Cleaner } from '../../../agent/engine/cleaner.ts';
import type { CleanerReport, CleanerSettings } from '../../../agent/engine/housekeeping-types.ts';
import type { EngineDeps } from '../../../agent/engine/types.ts';
import { Watchdog } from '../../../agent/watchdog/watchdog.ts';
import { errorText, SyncError } from '../../../protocol/errors.ts';
import { encodeManifest } from '../../../protocol/manifest.ts';
import { bucketIdName, manifestName, type StreamId } from '../../../protocol/object-name.ts';
import { bytesBody } from '../../../storage/bodies.ts';
import { MemoryObjectStore } from '../../../storage/memory.ts';
import type { VersionVector } from '../../../protocol/version-vector.ts';
import { names, plain, SIGNAL, TestWriter } from '../../support/compaction.ts';
import { freshState } from '../../support/readers/fresh-reader.ts';
import { EngineHost } from '../../support/engine-host.ts';
import { engineSettings } from '../../support/engine.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FaultyStore, type FaultPlan } from '../../support/faulty-store.ts';
import { scratchFolder } from '../../support/lmdb.ts';

const MINUTE_MS = 60_000;
const SETTINGS: CleanerSettings = {
  intervalMs: 5 * MINUTE_MS,
  mustKeepMs: 10 * MINUTE_MS,
  removeOldInstancesMs: 7 * 24 * 60 * MINUTE_MS,
};

/** A cleaner of instance `a` on a bucket in memory; what its publisher has stored is said by the test. */
function start(more: { plan?: FaultPlan; upstreamReaders?: boolean } = {}) {
  const inner = new MemoryObjectStore();
  const store = new FaultyStore(inner, more.plan);
  const clock = new FakeClock();
  const fullSnapshots = new Map<string, VersionVector>();
  const warnings: string[] = [];
  const events: string[] = [];
  const sleeps: number[] = [];
  let random = 0.5;
  const deps = {
    settings: engineSettings({ instance: 'a', upstreamReaders: more.upstreamReaders === true }),
    store,
    clock,
    observer: {
      stepWorked: () => undefined,
      stepFailed: (step: string, error: unknown) => warnings.push(`${step}: ${errorText(error)}`),
    },
    watchdog: new Watchdog(() => 0),
    random: () => random,
    sleep: async (ms: number, signal: AbortSignal) => {
      sleeps.push(ms);
      await new Promise((resolve) => setImmediate(resolve));
      signal.throwIfAborted();
    },
  } as unknown as EngineDeps;
  const cleaner = new Cleaner(deps, {
    settings: SETTINGS,
    stored: { fullSnapshots },
    observer: {
      listed: () => events.push('listed'),
      listFailed: () => events.push('list failed'),
      deleted: ({ reason }) => events.push(`deleted: ${reason}`),
      deleteFailed: ({ reason }) => events.push(`delete failed: ${reason}`),
      finished: () => events.push('finished'),
    },
  });
  const timeNs = clock.nowNs();
  return {
    store,
    inner,
    clock,
    cleaner,
    fullSnapshots,
    warnings,
    events,
    sleeps,
    setRandom: (value: number) => (random = value),
    a: new TestWriter(inner, { instance: 'a', run: 'r1', timeNs }),
    b: new TestWriter(inner, { instance: 'b', run: 'r9', timeNs }),
    clean: (): Promise<CleanerReport> => cleaner.clean(SIGNAL),
  };
}

function vectorOf(entries: Record<string, bigint>): VersionVector {
  return new Map(Object.entries(entries) as [StreamId, bigint][]);
}

async function publish(
  store: MemoryObjectStore,
  vector: VersionVector,
  base = 'main__compacted__20260101-000000-000000000__Gc1__S1.base.pb.gz',
): Promise<void> {
  const manifest = encodeManifest({
    version: 1,
    id: String(Math.random()),
    database: 'main',
    base,
    level1: [],
    vector,
    entries: 1,
    tombstones: 0,
    publishedAtNs: 1n,
    rejoinBeforeNs: 0n,
    lineage: { id: 'line', generation: 1n, prunedGeneration: 0n, partGenerations: [1n] },
  });
  await store.put(base, bytesBody(Buffer.from('base')), SIGNAL);
  await store.put(manifestName('main'), bytesBody(manifest), SIGNAL);
}

describe('Cleaner', () => {
  test('deletes what an own full snapshot covers, must_keep after it was first found stored', async () => {
    const world = start();
    const d1 = await world.a.delta([]);
    const f2 = await world.a.snapshot([]);
    world.fullSnapshots.set(f2, vectorOf({ 'a.r1': 2n }));
    expect(await world.clean()).toEqual({ deleted: 0, failed: 0, listed: 2 });
    world.clock.advanceMs(10 * MINUTE_MS - 1);
    expect((await world.clean()).deleted).toBe(0);
    world.clock.advanceMs(1);
    expect(await world.clean()).toEqual({ deleted: 1, failed: 0, listed: 2 });
    expect(await names(world.store)).toEqual([f2]);
    expect(d1).not.toBe(f2);
    expect(world.events.slice(-3)).toEqual(['listed', 'deleted: newer snapshot', 'finished']);
  });

  test('a full snapshot that is no longer listed covers nothing', async () => {
    const world = start();
    const d1 = await world.a.delta([]);
    const f2 = await world.a.snapshot([]);
    world.fullSnapshots.set(f2, vectorOf({ 'a.r1': 2n }));
    await world.clean();
    await world.inner.delete(f2, SIGNAL);
    world.clock.advanceMs(11 * MINUTE_MS);
    expect((await world.clean()).deleted).toBe(0);
    expect(await names(world.store)).toEqual([d1]);
    // Stored again it counts from then on.
    await world.inner.create(f2, bytesBody(Buffer.from('again')), SIGNAL);
    expect((await world.clean()).deleted).toBe(0);
  });

  test('a full snapshot of whose storing this run knows nothing covers nothing', async () => {
    const world = start();
    await world.a.delta([]);
    await world.a.snapshot([]);
    await world.clean();
    world.clock.advanceMs(11 * MINUTE_MS);
    expect((await world.clean()).deleted).toBe(0);
  });

  test('the published base counts from when it was first found, however often it is replaced', async () => {
    const world = start();
    const d1 = await world.b.delta([]);
    await publish(world.inner, vectorOf({ 'b.r9': 1n }));
    await world.clean();
    for (let minute = 0; minute < 9; minute += 3) {
      world.clock.advanceMs(3 * MINUTE_MS);
      await world.b.delta([]);
      await publish(world.inner, vectorOf({ 'b.r9': world.b.seq }));
      expect((await world.clean()).deleted).toBe(0);
    }
    world.clock.advanceMs(MINUTE_MS);
    expect((await world.clean()).deleted).toBe(1);
    expect(await names(world.store)).not.toContain(d1);
    world.clock.advanceMs(3 * MINUTE_MS);
    expect((await world.clean()).deleted).toBe(1);
    world.clock.advanceMs(60 * MINUTE_MS);
    await world.clean();
    expect((await names(world.store)).filter((name) => name.includes('__b__'))).toEqual([]);
  });

  test('never touches the bucket id, the manifest, or what the compactor stored', async () => {
    const world = start();
    const copy = 'main__compacted__20260101-000000-000000000__Gc1__S1.pb.gz';
    const oldBase = 'main__compacted__20250101-000000-000000000__Gc0__S1.base.pb.gz';
    for (const name of [bucketIdName(), copy, oldBase, 'main__notes.txt', 'other__a__x.pb.gz']) {
      await world.inner.put(name, bytesBody(Buffer.from('x')), SIGNAL);
    }
    await publish(world.inner, vectorOf({ 'compacted.c1': 9n, 'compacted.c0': 9n }));
    const before = await names(world.store);
    await world.clean();
    world.clock.advanceMs(11 * MINUTE_MS);
    await world.clean();
    expect(await names(world.store)).toEqual(before);
  });

  test('a failed deletion is counted and tried again by the next run', async () => {
    const world = start();
    await world.a.delta([]);
    await world.a.delta([]);
    const f3 = await world.a.snapshot([]);
    world.fullSnapshots.set(f3, vectorOf({ 'a.r1': 3n }));
    await world.clean();
    world.clock.advanceMs(11 * MINUTE_MS);
    let left = 1;
    world.store.plan = (call) => (call === 'delete' && (left -= 1) >= 0 ? 'fail' : 'none');
    expect(await world.clean()).toEqual({ deleted: 1, failed: 1, listed: 3 });
    expect(await world.clean()).toEqual({ deleted: 1, failed: 0, listed: 2 });
  });

  test('without the right to delete it warns once and rests', async () => {
    const world = start();
    for (let count = 0; count < 20; count += 1) {
      await world.a.delta([]);
    }
    const full = await world.a.snapshot([]);
    world.fullSnapshots.set(full, vectorOf({ 'a.r1': 21n }));
    await world.clean();
    world.clock.advanceMs(11 * MINUTE_MS);
    world.inner.delete = async () => {
      throw new SyncError('STORAGE_DENIED', 'access denied');
    };
    await world.cleaner.run(SIGNAL, { mayClean: () => true });
    expect(world.warnings).toEqual([expect.stringContaining('no delete right')]);
    expect(await names(world.store)).toHaveLength(21);
    expect(world.store.calls.delete).toBeLessThan(20);
    await world.cleaner.run(SIGNAL, { mayClean: () => true });
    expect(world.warnings).toHaveLength(1);
  });

  test('runs every interval, give or take a fifth, as soon as it may; a failed listing is not the end', async () => {
    const world = start({ plan: (call) => (call === 'list' ? 'fail' : 'none') });
    const stop = new AbortController();
    let may = 0;
    const randoms = [0, 0.999_999, 0.5];
    world.setRandom(randoms[0] ?? 0);
    await world.cleaner.run(stop.signal, {
      mayClean: () => {
        may += 1;
        world.setRandom(randoms[may] ?? 0.5);
        if (may === 3) {
          world.store.plan = () => 'none';
        }
        if (may === 4) {
          stop.abort(new Error('stopped'));
        }
        return may > 1;
      },
    });
    const minutes = world.sleeps.map((ms) => Math.round((ms / MINUTE_MS) * 100) / 100);
    expect(minutes).toEqual([4, 6, 5, 5]);
    expect(world.events).toEqual(['list failed', 'listed', 'finished']);
    expect(world.warnings).toEqual([expect.stringMatching(/^clean: cannot list/)]);
  });
});

describe('Cleaner of a running engine', () => {
  const folder = scratchFolder();
  afterAll(() => fs.rmSync(folder, { recursive: true }));

  const cleaning = {
    settings: { ...SETTINGS, mustKeepMs: 0, intervalMs: 1 },
    observer: {
      listed: () => undefined,
      listFailed: () => undefined,
      deleted: () => undefined,
      deleteFailed: () => undefined,
      finished: () => undefined,
    },
  };

  /** Two hosts with one bucket; `b` never cleans. */
  function hosts() {
    const store = new MemoryObjectStore();
    const clock = new FakeClock();
    const make = (instance: string) => new EngineHost({ folder, instance, store, clock });
    return { store, clock, a: make('a'), b: make('b') };
  }

  async function stored(store: MemoryObjectStore, part: string): Promise<string[]> {
    return (await names(store)).filter((name) => name.includes(part));
  }

  test('own deltas go once a full snapshot is stored; a fresh host still gets everything', async () => {
    const { store, clock, a, b } = hosts();
    await a.start({ maxDeltas: 3 }, { cleaning });
    for (const key of ['k1', 'k2', 'k3', 'k4', 'k5', 'k6']) {
      const before = (await stored(store, '__a__')).at(-1);
      clock.advanceMs(1);
      a.write(key, key);
      await a.eventually(async () => (await stored(store, '__a__')).at(-1) !== before);
    }
    await a.eventually(async () => {
      const left = await stored(store, '__a__');
      return left.length <= 3 && left.some((name) => !name.includes('.delta.'));
    });
    await b.start();
    expect(b.values()).toEqual(a.values());
    expect(Object.keys(b.values())).toHaveLength(6);
    expect(a.warnings).toEqual([]);
    await a.close();
    await b.close();
  });

  test('a snapshot that was encoded before a merge does not cover what was merged', async () => {
    const { store, clock, a, b } = hosts();
    let runs = 0;
    // Instances are stale at once here, so that only the vector protects what is theirs.
    const settings = { ...cleaning.settings, removeOldInstancesMs: 0 };
    const observer = { ...cleaning.observer, finished: () => (runs += 1) };
    await a.start({}, { cleaning: { settings, observer } });
    a.write('mine', '1');
    await a.eventually(async () => (await stored(store, '__a__')).length === 1);
    await b.start();
    clock.advanceMs(1);
    b.write('theirs', '2');
    await b.eventually(async () => (await stored(store, '__b__')).length > 0);
    await b.stop();
    const theirs = await stored(store, '__b__');
    a.engine.noteNames(theirs);
    await a.eventually(() => 'theirs' in a.values());
    clock.advanceMs(1000);
    const before = runs;
    await a.eventually(() => runs >= before + 3);
    expect(await stored(store, '__b__')).toEqual(theirs);
    const state = plain(await freshState(store));
    expect(Object.keys(Object.values(state)[0] ?? {})).toHaveLength(2);
    await a.close();
    await b.close();
  });

  test('an agent that only receives deletes nothing', async () => {
    const { store, a, b } = hosts();
    await b.start({ maxDeltas: 1 });
    b.write('k1', '1');
    await b.eventually(async () => (await stored(store, '__b__')).length === 1);
    await a.start({ receiveOnly: true }, { cleaning });
    const calls: string[] = [];
    store.delete = async (name) => {
      calls.push(name);
    };
    await a.eventually(() => 'k1' in a.values());
    expect(calls).toEqual([]);
    await a.close();
    await b.close();
  });
});
