import fs from 'node:fs';
import { names, plain, SIGNAL, TestCompactor } from '../../support/compaction.ts';
import { freshState } from '../../support/readers/fresh-reader.ts';
import { EngineHost, hostSleep } from '../../support/engine-host.ts';
import { scratchFolder } from '../../support/lmdb.ts';
import {
  close,
  DAY_MS,
  deletedAndSwept,
  inStep,
  RETENTION_MS,
  storedBy,
  sweeping,
  type World,
} from '../../support/rejoin-world.ts';

const folder = scratchFolder();
afterAll(() => fs.rmSync(folder, { recursive: true }));

const hex = (text: string) => Buffer.from(text).toString('hex');

/** An agent without a sweeper; what becomes of a rejoin is written down all the same. */
const unswept = ({ events }: World) => ({ rejoinObserver: sweeping(events).observer });

test('where the compactor drops tombstones, a host without a sweeper rejoins, too', async () => {
  const world = await inStep(folder);
  const { a, events } = world;
  await deletedAndSwept(world);
  await a.start({}, unswept(world));
  await a.eventually(() => events.length >= 2);
  expect(events).toEqual(['began', 'dropped 1, stamped 0']);
  expect(a.values()).toEqual({});
  await a.stop();
  await a.start({}, unswept(world));
  expect(events).toHaveLength(2);
  expect(await storedBy(world, 'a')).toEqual([]);
  await close(world);
});

test('where nobody drops tombstones, a host that was away for long reads nothing again', async () => {
  const world = await inStep(folder);
  await deletedAndSwept(world, null);
  await world.a.start({}, unswept(world));
  expect(world.events).toEqual([]);
  expect(world.a.values()).toEqual({ k: undefined });
  await close(world);
});

/** As {@link deletedAndSwept}, but only `b` sweeps, no compactor drops; its full snapshot is all that is left. */
async function sweptByB(world: World): Promise<void> {
  const { memory, clock, b, store } = world;
  clock.advanceMs(1000);
  b.write('k', undefined);
  await b.eventually(async () => (await storedBy(world, 'b')).length > 0);
  clock.advanceMs(RETENTION_MS + DAY_MS);
  const events: string[] = [];
  await b.stop();
  const emptied = async () => {
    for (const name of await names(store)) {
      if (/__(a|b)__/.test(name)) {
        await memory.delete(name, SIGNAL);
      }
    }
  };
  // Nothing may be swept while anybody can still read what is older than the deletion.
  await emptied();
  await b.start({}, { sweeping: sweeping(events, { sweeps: true }) });
  await b.eventually(() => b.entries()['k'] === undefined);
  await b.stop();
  await emptied();
  // Objects of its own that are gone make a full snapshot due; this one is by an agent without a sweeper.
  await b.start();
  b.write('x', '1');
  await b.eventually(async () => (await storedBy(world, 'b')).some((name) => !/delta/.test(name)));
}

test('where another agent sweeps, its full snapshots say so', async () => {
  const world = await inStep(folder);
  const { a, events } = world;
  await sweptByB(world);
  await a.start({}, unswept(world));
  await a.eventually(() => events.length >= 2);
  expect(events).toEqual(['began', 'dropped 1, stamped 0']);
  expect(a.values()).toEqual({ x: '1' });
  // What it stored is gone, so it sends everything again: what is left after the rejoin.
  await a.eventually(async () => (await storedBy(world, 'a')).length > 0);
  expect(Object.keys(plain(await freshState(world.memory))['d'] ?? {})).toEqual([hex('x')]);
  await close(world);
});

test('a host that was away for long sends nothing before its first pass has shown whether it must rejoin', async () => {
  const world = await inStep(folder);
  const { a, events, store } = world;
  a.write('unsent', '1');
  await sweptByB(world);
  const { pause, plan } = store;
  store.plan = (call, name) => (call === 'get' && /__b__/.test(name) ? 'slow' : 'none');
  store.pause = () => hostSleep(5, SIGNAL);
  store.onCreate = (name) => events.push(name.includes('__a__') ? 'put' : 'other');
  await a.start({}, unswept(world));
  await a.eventually(() => events.length >= 3);
  expect(events.slice(0, 3)).toEqual(['began', 'dropped 1, stamped 1', 'put']);
  Object.assign(store, { pause, plan });
  await close(world);
});

test('a crash between the merge that says so and the rejoin does not make it forgotten', async () => {
  const world = await inStep(folder);
  const { a, events, store } = world;
  await sweptByB(world);
  let gets = 0;
  // The pass merges the full snapshot; the rejoin behind it is broken off.
  store.plan = (call, name) =>
    call === 'get' && /__b__/.test(name) && (gets += 1) > 1 ? 'fail' : 'none';
  // While it is postponed changes are sent as ever; here only what is remembered of it matters.
  await a.start({ receiveOnly: true }, unswept(world));
  await a.eventually(() => events.length >= 2);
  expect(events[1]).toMatch(/postponed/);
  await a.stop();
  store.plan = () => 'none';
  events.length = 0;
  await a.start({}, unswept(world));
  await a.eventually(() => events.length >= 2);
  expect(events).toEqual(['began', 'dropped 1, stamped 0']);
  expect(a.values()).toEqual({ x: '1' });
  await close(world);
});

test('a compactor that drops nothing hands on what a folded full snapshot says', async () => {
  const world = await inStep(folder);
  const { a, b, clock, events, store } = world;
  await sweptByB(world);
  await b.stop();
  const compactor = new TestCompactor(store);
  compactor.nowNs = clock.nowNs();
  await compactor.run();
  compactor.advanceMs(1000);
  await compactor.run();
  expect(await storedBy(world, 'b')).toEqual([]);
  await a.start({}, unswept(world));
  await a.eventually(() => events.length >= 2);
  expect(events).toEqual(['began', 'dropped 1, stamped 0']);
  await close(world);
});

test('a compactor whose clock is far ahead does not make hosts rejoin for ever', async () => {
  const world = await inStep(folder);
  const { a, clock, events, store } = world;
  const compactor = new TestCompactor(store, { tombstoneRetentionMs: RETENTION_MS });
  compactor.nowNs = clock.nowNs() + BigInt(RETENTION_MS) * 10_000_000n;
  await compactor.run();
  await a.start({}, unswept(world));
  await a.eventually(() => events.length >= 2);
  expect(events).toEqual(['began', 'dropped 0, stamped 0']);
  clock.advanceMs(1);
  a.write('x', '2');
  await a.eventually(async () => (await storedBy(world, 'a')).some((name) => /delta/.test(name)));
  expect(events).toHaveLength(2);
  await close(world);
});

test('a host that never came to the end of a pass must rejoin, too', async () => {
  const world = await inStep(folder);
  const { a, b, clock, events, store } = world;
  // From here on `a` has what it wrote and merged, and no pass of the next run is ever complete.
  await a.close();
  const c = new EngineHost({ folder, instance: 'c', store, clock });
  store.plan = (call, name) =>
    call === 'get' && /__b__/.test(name) && /__S2/.test(name) ? 'fail' : 'none';
  for (const key of ['m', 'n']) {
    clock.advanceMs(1);
    const stored = (await storedBy(world, 'b')).length;
    b.write(key, '1');
    await b.eventually(async () => (await storedBy(world, 'b')).length > stored);
  }
  await c.start({}, { ...unswept(world), wait: false });
  await c.eventually(() => c.values()['k'] === 'v');
  await c.stop();
  store.plan = () => 'none';
  await deletedAndSwept(world);
  await c.start({}, unswept(world));
  await c.eventually(() => events.length >= 2);
  expect(events[1]).toMatch(/dropped 1/);
  await b.close();
  await c.close();
});
