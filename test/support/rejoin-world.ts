import type { SweeperObserver } from '../../agent/engine/housekeeping-types.ts';
import { MemoryObjectStore } from '../../storage/memory.ts';
import { names, TestCompactor } from './compaction.ts';
import { EngineHost } from './engine-host.ts';
import { FakeClock } from './fake-clock.ts';
import { FaultyStore } from './faulty-store.ts';

/** A day. */
export const DAY_MS = 24 * 3_600_000;
/** Of everybody in these tests who drops tombstones. */
export const RETENTION_MS = 40 * DAY_MS;

/** A sweeper's settings, and what it and a rejoin do, written into `events`; it never sweeps unless told to. */
export function sweeping(events: string[], more: { sweeps?: boolean } = {}) {
  const observer: SweeperObserver = {
    swept: ({ removed }) => events.push(`swept ${removed}`),
    rejoinBegan: () => events.push('began'),
    rejoined: ({ dropped, stamped }) => events.push(`dropped ${dropped}, stamped ${stamped}`),
    rejoinPostponed: (reason) => events.push(`postponed: ${reason}`),
  };
  const settings = {
    retentionMs: RETENTION_MS,
    // Waits of that length never end in these tests.
    firstIntervalMs: more.sweeps === true ? 1 : 10 * DAY_MS,
    intervalMs: more.sweeps === true ? 1 : 10 * DAY_MS,
    lockMs: 50,
    releaseMs: 1,
  };
  return { settings, observer };
}

/** Hosts `a` and `b` in step: `a` has key `k` from its own upload, `b` has merged it; then `a` stops. */
export async function inStep(folder: string) {
  const memory = new MemoryObjectStore();
  const store = new FaultyStore(memory);
  const clock = new FakeClock();
  const host = (instance: string) => new EngineHost({ folder, instance, store, clock });
  const a = host('a');
  const b = host('b');
  const events: string[] = [];
  const world = { memory, store, clock, a, b, events, sweeping: sweeping(events) };
  await a.start({}, { sweeping: sweeping([]) });
  a.write('k', 'v');
  await a.eventually(async () => (await names(store)).some((name) => name.includes('__a__')));
  await b.start({}, { sweeping: sweeping([]) });
  expect(b.values()).toEqual({ k: 'v' });
  await a.stop();
  return world;
}

/** {@link inStep}. */
export type World = Awaited<ReturnType<typeof inStep>>;

/** Names of an instance's objects in the bucket. */
export async function storedBy(world: World, instance: string): Promise<string[]> {
  return (await names(world.store)).filter((name) => name.includes(`__${instance}__`));
}

/**
 * `b` deletes `k`; long after, everybody who is there has swept the tombstone, and the bucket holds none of it: the
 * compactor has folded all, dropped the tombstone, and deleted what it folded.
 */
export async function deletedAndSwept(
  world: World,
  tombstoneRetentionMs: number | null = RETENTION_MS,
): Promise<void> {
  await deletedAndFolded(world, tombstoneRetentionMs);
  expect(await storedBy(world, 'a')).toEqual([]);
  expect(await storedBy(world, 'b')).toEqual([]);
}

/** The same, whatever became of the deletions in the bucket. */
export async function deletedAndFolded(
  world: World,
  tombstoneRetentionMs: number | null = RETENTION_MS,
): Promise<void> {
  const { clock, b, store } = world;
  clock.advanceMs(1000);
  b.write('k', undefined);
  await b.eventually(async () => (await storedBy(world, 'b')).length > 0);
  clock.advanceMs(RETENTION_MS + DAY_MS);
  await b.stop();
  const compactor = new TestCompactor(store, {
    tombstoneRetentionMs: tombstoneRetentionMs ?? undefined,
  });
  compactor.nowNs = clock.nowNs();
  await compactor.run();
  compactor.advanceMs(1000);
  await compactor.run();
}

/** Longer than the retention passes, while this host keeps listing. */
export async function liveOn({ clock, store }: World, host: EngineHost): Promise<void> {
  for (let days = 0; days < 45; days += 9) {
    clock.advanceMs(9 * DAY_MS);
    const lists = store.calls.list;
    host.engine.noteListing();
    await host.eventually(() => store.calls.list > lists);
  }
}

/** Ends both hosts. */
export async function close({ a, b }: World): Promise<void> {
  await a.close();
  await b.close();
}
