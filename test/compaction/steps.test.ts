import { manifestOf, plain } from '../support/compaction.ts';
import { freshState } from '../support/readers/fresh-reader.ts';
import { SlowWorld, content, type Speeds } from './slow-world.ts';

const KB = 1024;
/** A run of a second in which a megabyte can be read, merged and stored once. */
const SPEEDS: Speeds = { latencyMs: 1, down: 4 * KB, up: 4 * KB, merge: 8 * KB };
const SECOND = 1000;

async function stateOf({ store }: SlowWorld) {
  return plain(await freshState(store));
}

/** Deltas of one instance, each of so many bytes. */
async function deltas(world: SlowWorld, instance: string, size: { count: number; bytes: number }) {
  const writer = world.writer(instance);
  for (let i = 0; i < size.count; i++) {
    await writer.delta(content('d', i * 100, { count: 4, bytes: size.bytes }));
  }
}

describe('a bucket for which no single run has the time is finished by several short ones', () => {
  const scenes: [string, Speeds, (world: SlowWorld) => Promise<void>][] = [
    [
      'a first base of many full snapshots',
      SPEEDS,
      async (world) => {
        for (const instance of 'abcdefgh') {
          await world.writer(instance).snapshot(content('d', 7, { count: 10, bytes: 600 * KB }));
        }
      },
    ],
    [
      'a first base of many deltas, over a slow line',
      { ...SPEEDS, latencyMs: 5 },
      async (world) => {
        for (const instance of 'abcd') {
          await deltas(world, instance, { count: 50, bytes: 20 * KB });
        }
      },
    ],
    [
      'a line that is eight times slower upwards',
      { ...SPEEDS, up: KB / 2 },
      (world) => deltas(world, 'a', { count: 60, bytes: 40 * KB }),
    ],
    [
      'a large full snapshot, and others that must not wait for it',
      SPEEDS,
      async (world) => {
        await deltas(world, 'a', { count: 30, bytes: 20 * KB });
        await world.writer('b').snapshot(content('d', 7, { count: 20, bytes: 800 * KB }));
        await deltas(world, 'c', { count: 30, bytes: 20 * KB });
      },
    ],
  ];

  test.each(scenes)('%s', async (_what, speeds, fill) => {
    const world = new SlowWorld(speeds);
    await fill(world);
    const before = await stateOf(world);
    let left = Number.POSITIVE_INFINITY;
    for (let runs = 0; left > 0; runs++) {
      const report = await world.run(SECOND);
      // Every run keeps something.
      expect(report.outcome).toBe('published');
      expect(report.leftObjects).toBeLessThan(left);
      left = report.leftObjects;
      expect(runs).toBeLessThan(40);
    }
    expect(await stateOf(world)).toEqual(before);
    expect(world.scratch.usedBytes).toBe(0);
  });
});

test('a full snapshot that fits into no run is named, and keeps no other waiting', async () => {
  const world = new SlowWorld(SPEEDS);
  const large = await world.writer('b').snapshot(content('d', 7, { count: 20, bytes: 3000 * KB }));
  for (let runs = 0; runs < 3; runs++) {
    await deltas(world, `a${runs}`, { count: 20, bytes: 20 * KB });
    const report = await world.run(SECOND);
    expect(report).toMatchObject({ outcome: 'published', leftObjects: 1, largestLeft: large });
  }
  expect(await world.run(SECOND)).toMatchObject({ outcome: 'out-of-time', largestLeft: large });
  expect(await world.run(10 * SECOND)).toMatchObject({ outcome: 'published', leftObjects: 0 });
});

describe('what is new is kept where it does not fit together with what is published', () => {
  /** A base, and what lies above it, of so many kilobytes each. */
  async function published(baseKb: number, levelKb: number) {
    const world = new SlowWorld(SPEEDS, { policy: { smallBaseBytes: 0, baseDueRatio: 1000 } });
    const writer = world.writer('a');
    await writer.snapshot(content('d', 0, { count: 100, bytes: baseKb * KB }));
    await world.run();
    if (levelKb > 0) {
      await writer.delta(content('d', 1000, { count: 100, bytes: levelKb * KB }));
      await world.run();
    }
    return { world, writer };
  }

  test('a base that is due and does not fit waits, is tried once a day, and is named', async () => {
    const { world, writer } = await published(4000, 0);
    const { base } = await manifestOf(world.store);
    world.compactor.policy = { ...world.compactor.policy, baseDueRatio: 0 };
    for (let i = 0; i < 3; i++) {
      await writer.delta(content('d', i, { count: 4, bytes: 20 * KB }));
      const beganMs = world.nowMs;
      const report = await world.run(SECOND);
      expect(report).toMatchObject({ outcome: 'published', level: 'level1', baseWaits: true });
      expect(report.leftObjects).toBe(0);
      // The first run finds out; the others do not spend their time on it.
      expect(world.nowMs - beganMs > SECOND / 2).toBe(i === 0);
    }
    expect((await manifestOf(world.store)).base).toBe(base);
    // With more time it is written at once.
    await writer.delta(content('d', 9, { count: 4, bytes: 20 * KB }));
    const before = await stateOf(world);
    const report = await world.run(20 * SECOND);
    expect(report).toMatchObject({ level: 'base', baseWaits: false, leftObjects: 0 });
    expect((await manifestOf(world.store)).base).not.toBe(base);
    expect(await stateOf(world)).toEqual(before);
  });

  test('a base that is due although nothing is new is tried once a day, too', async () => {
    const { world } = await published(4000, 40);
    world.compactor.policy = { ...world.compactor.policy, baseMaxAgeMs: 1 };
    expect(await world.run(SECOND)).toMatchObject({ level: 'none', baseWaits: true });
    const beganMs = world.nowMs;
    expect(await world.run(SECOND)).toMatchObject({ outcome: 'nothing', baseWaits: true });
    expect(world.nowMs - beganMs).toBeLessThan(SECOND / 10);
    world.compactor.advanceMs(25 * 3600 * SECOND);
    world.speeds = { ...SPEEDS, down: 100 * KB, up: 100 * KB, merge: 100 * KB };
    expect(await world.run(SECOND)).toMatchObject({ level: 'base', baseWaits: false });
  });

  test('a level-1 delta that is too large to be written again stays as it is', async () => {
    const { world, writer } = await published(100, 2000);
    const [large] = (await manifestOf(world.store)).level1;
    for (let i = 0; i < 3; i++) {
      // Together more than half of it: they are to be merged into it.
      for (let j = 0; j < 25; j++) {
        await writer.delta(content('d', 100 * j, { count: 4, bytes: 44 * KB }));
      }
      expect(await world.run(SECOND)).toMatchObject({ outcome: 'published', level: 'level1' });
      expect((await manifestOf(world.store)).level1[0]).toBe(large);
    }
    expect(await world.runsUntilDone(SECOND, 5)).toBeDefined();
  });
});

describe('a scratch space that is too small for all', () => {
  test('what found room is published; the rest follows in further steps', async () => {
    const world = new SlowWorld(SPEEDS, { roomBytes: 5 * KB * KB });
    for (const instance of 'abcdef') {
      await world.writer(instance).snapshot(content('d', 7, { count: 10, bytes: 1500 * KB }));
    }
    const before = await stateOf(world);
    expect(await world.run()).toMatchObject({ outcome: 'published', leftObjects: 0 });
    expect(await stateOf(world)).toEqual(before);
    expect(world.scratch.usedBytes).toBe(0);
  });

  test('a base that finds no room waits and is named, and what is new is kept', async () => {
    const policy = { smallBaseBytes: 0, baseDueRatio: 0 };
    const world = new SlowWorld(SPEEDS, { policy, roomBytes: 3000 * KB });
    const writer = world.writer('a');
    await writer.snapshot(content('d', 0, { count: 10, bytes: 900 * KB }));
    await world.run();
    await writer.snapshot(content('d', 100, { count: 10, bytes: 900 * KB }));
    await world.run();
    await writer.delta(content('d', 5, { count: 4, bytes: 20 * KB }));
    const report = await world.run();
    expect(report).toMatchObject({ level: 'level1', baseWaits: true, leftObjects: 0 });
  });
});

test('where only a base is due and finds no room, what is due is deleted all the same', async () => {
  const mustKeepMs = 60 * SECOND;
  const policy = { smallBaseBytes: 0, baseDueRatio: 1000, mustKeepMs };
  const world = new SlowWorld(SPEEDS, { policy, roomBytes: 1500 * KB });
  const writer = world.writer('a');
  await writer.snapshot(content('d', 0, { count: 10, bytes: 900 * KB }));
  await world.run();
  const delta = await writer.delta(content('d', 5, { count: 4, bytes: 20 * KB }));
  await world.run();
  world.compactor.advanceMs(25 * 3600 * SECOND);
  const report = await world.run();
  expect(report).toMatchObject({ outcome: 'nothing', baseWaits: true });
  expect(report.deleted).toContain(delta);
});

test('inputs that a merge does not read for long are not held open', async () => {
  // The base fills one DBI, what is above it another: while the first is merged, nobody reads the second.
  const speeds = { ...SPEEDS, idleLimitMs: 30 };
  const world = new SlowWorld(speeds, { policy: { smallBaseBytes: 0, baseDueRatio: 1000 } });
  const writer = world.writer('a');
  await writer.snapshot(content('a-zones', 0, { count: 100, bytes: 1500 * KB }));
  await world.run();
  await writer.delta(content('z-records', 0, { count: 100, bytes: 900 * KB }));
  await world.run();
  await writer.delta(content('a-zones', 50, { count: 2, bytes: 900 }));
  const before = await stateOf(world);
  world.compactor.policy = { ...world.compactor.policy, baseDueRatio: 0 };
  expect(await world.run()).toMatchObject({ outcome: 'published', level: 'base' });
  expect(await stateOf(world)).toEqual(before);
});
