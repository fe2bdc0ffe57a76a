import fs from 'node:fs';
import { SyncObservers } from '../../../agent/monitor/sync-observers.ts';
import { MemoryObjectStore } from '../../../storage/memory.ts';
import { EngineHost } from '../../support/engine-host.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { scratchFolder } from '../../support/lmdb.ts';
import { swapAt } from '../../support/lmdb-writer/disorder.ts';
import {
  close,
  DAY_MS,
  deletedAndSwept,
  inStep,
  liveOn,
  storedBy,
  sweeping,
} from '../../support/rejoin-world.ts';

const folder = scratchFolder();
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

test('a host with a DBI out of order sends the others as deltas, never a state that lacks it, and stops in its time', async () => {
  const store = new MemoryObjectStore();
  const clock = new FakeClock();
  const host = new EngineHost({ folder, instance: 'a', store, clock });
  for (let i = 0; i < 20; i += 1) {
    host.app.put('damaged', `k${i + 10}`, { value: 'x', ts: clock.nowNs() });
  }
  host.write('good', 'value');
  swapAt(host.file, 'damaged', 'k15');
  await host.start({ maxDeltas: 1 });
  const objects = async () => {
    const names: string[] = [];
    for await (const { name } of store.list('main__', { signal: new AbortController().signal })) {
      names.push(name);
    }
    return names;
  };
  await host.eventually(async () => (await objects()).length === 1);
  host.write('more', 'value');
  await host.eventually(async () => (await objects()).length === 2);
  await host.stop();
  expect((await objects()).every((name) => name.includes('.delta.'))).toBe(true);
  await host.app.close();
});

/** `a` and `b` are in step; then the DBI of `a` gets out of order, and `a` goes on without it. */
async function oneRefused() {
  const world = await inStep(folder);
  const { a, b, clock } = world;
  let isRefused = false;
  const observer = new SyncObservers([
    { detected: ({ refusedDbis }) => (isRefused = refusedDbis.length > 0) },
  ]);
  await a.start({}, { sweeping: world.sweeping, observer });
  for (const key of ['m1', 'm2', 'm3']) {
    a.write(key, 'v');
  }
  await b.eventually(async () => {
    b.engine.noteListing();
    return 'm3' in b.values();
  });
  clock.advanceMs(1000);
  swapAt(a.file, 'd', 'm2');
  a.write('z', 'local');
  await a.eventually(() => isRefused);
  return world;
}

type Refused = Awaited<ReturnType<typeof oneRefused>>;

/** `a` rejoins without the DBI, and lists all the time. */
async function inStepButForIt(world: Refused): Promise<void> {
  await liveOn(world, world.a);
  await world.a.eventually(() => world.events.length === 2);
  expect(world.events.splice(0)).toEqual(['began', 'dropped 0, stamped 0']);
}

function heal({ a }: Refused): void {
  swapAt(a.file, 'd', 'm1');
  a.write('z', 'healed');
}

/** What `b` has once it has taken in all that is in the bucket. */
async function seenByOther(world: Refused): Promise<Record<string, string | undefined>> {
  const { b } = world;
  await b.start({}, { sweeping: sweeping([]) });
  await b.eventually(() => b.values()['z'] === 'healed');
  return b.values();
}

describe('a DBI that is in order again after half the retention', () => {
  test('makes its host rejoin, for the others may have swept what they deleted in it', async () => {
    const world = await oneRefused();
    const { a, clock, events, store } = world;
    await deletedAndSwept(world);
    await inStepButForIt(world);
    clock.advanceMs(1000);
    const atCreate: string[][] = [];
    store.plan = (call, name) => {
      if (call === 'create' && name.includes('__a__')) {
        atCreate.push([...events]);
      }
      return 'none';
    };
    heal(world);
    await a.eventually(async () => (await storedBy(world, 'a')).length > 0);
    expect(events).toEqual(['began', 'dropped 1, stamped 0']);
    // Nothing is sent before, not even by the look that finds it in order.
    expect(atCreate[0]).toEqual(events);
    expect(Object.keys(a.values())).toEqual(['m1', 'm2', 'm3', 'z']);
    expect(Object.keys(await seenByOther(world))).toEqual(['m1', 'm2', 'm3', 'z']);
    await close(world);
  });

  test('does so, too, where the agent was restarted meanwhile, and did not run when it got in order', async () => {
    const world = await oneRefused();
    const { a, events } = world;
    await deletedAndSwept(world);
    await a.stop();
    await a.start({}, { sweeping: world.sweeping });
    await inStepButForIt(world);
    await a.stop();
    heal(world);
    await a.start({}, { sweeping: world.sweeping });
    await a.eventually(async () => (await storedBy(world, 'a')).length > 0);
    expect(events).toEqual(['began', 'dropped 1, stamped 0']);
    expect(Object.keys(await seenByOther(world))).toEqual(['m1', 'm2', 'm3', 'z']);
    await close(world);
  });

  test('within that time, it is merged and sent, and nothing is dropped', async () => {
    const world = await oneRefused();
    const { a, clock, events } = world;
    clock.advanceMs(DAY_MS);
    const before = (await storedBy(world, 'a')).length;
    heal(world);
    await a.eventually(async () => (await storedBy(world, 'a')).length > before);
    expect(events).toEqual([]);
    await close(world);
  });
});
