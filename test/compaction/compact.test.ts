import { manifestName, parseObjectName } from '../../protocol/object-name.ts';
import { bytesBody } from '../../storage/bodies.ts';
import {
  SIGNAL,
  manifestOf,
  records,
  twoWriters,
  TestWriter,
  encodeSnapshot,
  entry,
  names,
  plain,
  readObject,
} from '../support/compaction.ts';
import { freshState } from '../support/readers/fresh-reader.ts';

test('a first run folds snapshots and deltas into a base and deletes what it covers', async () => {
  const { store, a, b, compactor } = twoWriters();
  await a.snapshot(records(entry('k1', 'one', 1n), entry('k2', 'two', 2n)));
  await a.delta(records(entry('k1', 'newer', 5n)));
  await b.snapshot(records(entry('k2', undefined, 9n), entry('k3', 'three', 3n)));
  const before = plain(await freshState(store));

  const report = await compactor.run();

  expect(report).toMatchObject({ outcome: 'published', level: 'base', foldedObjects: 3 });
  expect(report.deleted).toHaveLength(3);
  expect(plain(await freshState(store))).toEqual(before);
  expect(await names(store)).toEqual([manifestName('main'), report.written]);
  const manifest = await manifestOf(store);
  expect([...manifest.vector]).toEqual(
    expect.arrayContaining([
      ['a.run1', 2n],
      ['b.run2', 1n],
    ]),
  );
  expect(manifest).toMatchObject({ entries: 3, tombstones: 1 });
});

test('a second run without anything new changes nothing but notes, a third nothing at all', async () => {
  const { store, a, compactor } = twoWriters();
  await a.snapshot(records(entry('k', 'v', 1n)));
  await compactor.run();
  await compactor.run();
  const before = await names(store);
  const manifest = await readObject(store, manifestName('main'));
  expect(await compactor.run()).toMatchObject({ outcome: 'nothing', level: 'none', deleted: [] });
  expect(await names(store)).toEqual(before);
  expect(await readObject(store, manifestName('main'))).toEqual(manifest);
});

test('a small tail goes into level-1 deltas, and their number stays small', async () => {
  const { store, a, compactor } = twoWriters({ smallBaseBytes: 0, baseDueRatio: 1000 });
  await a.snapshot(records(...Array.from({ length: 300 }, (_, i) => entry(`k${i}`, 'v', 1n))));
  await compactor.run();
  const { base } = await manifestOf(store);
  for (let i = 0; i < 20; i++) {
    await a.delta(records(entry(`k${i}`, `new ${i}`, 10n)));
    const before = plain(await freshState(store));
    expect(await compactor.run()).toMatchObject({ outcome: 'published', level: 'level1' });
    expect(plain(await freshState(store))).toEqual(before);
  }
  const manifest = await manifestOf(store);
  expect(manifest.base).toBe(base);
  expect(manifest.level1.length).toBeGreaterThan(0);
  expect(manifest.level1.length).toBeLessThan(8);
  // Nothing but base, levels and manifest is left.
  expect(await names(store)).toHaveLength(manifest.level1.length + 2);
});

test('a base is written anew when what lies above it grows', async () => {
  const { store, a, compactor } = twoWriters({ smallBaseBytes: 0, baseDueRatio: 0.25 });
  await a.snapshot(records(...Array.from({ length: 3000 }, (_, i) => entry(`key${i}`, 'v', 1n))));
  await compactor.run();
  const levels: string[] = [];
  for (let i = 0; i < 40; i++) {
    await a.delta(
      records(...Array.from({ length: 60 }, (_, j) => entry(`new ${i} ${j}`, 'x', 10n))),
    );
    levels.push((await compactor.run()).level);
  }
  expect(levels).toContain('level1');
  expect(levels).toContain('base');
  expect((await manifestOf(store)).entries).toBeGreaterThanOrEqual(5400);
});

test('a damaged object is left alone, and so is what follows it in its stream', async () => {
  const { store, a, b, compactor } = twoWriters();
  const damaged = await a.delta(records(entry('k1', '1', 1n)));
  const next = await a.delta(records(entry('k2', '2', 2n)));
  await b.delta(records(entry('k3', '3', 3n)));
  await store.put(damaged, bytesBody(Buffer.from('nonsense')), SIGNAL);
  const report = await compactor.run();
  expect(report.unreadable).toEqual([
    { name: damaged, reason: expect.stringContaining('gzip') as string },
  ]);
  expect(await names(store)).toEqual(expect.arrayContaining([damaged, next]));
  expect((await manifestOf(store)).vector.get(b.stream)).toBe(1n);
});

test('an object with very many DBIs, or too large an entry, is left alone; the others go in', async () => {
  const { store, a, b, compactor } = twoWriters({ entryBytesMax: 2000 });
  const many = Array.from({ length: 10_001 }, (_, at) => ({ name: `d${at}`, entries: [] }));
  const crowded = await a.delta(many);
  const c = new TestWriter(store, { instance: 'c', run: 'rc' });
  const large = await c.delta(records(entry('k1', 'x'.repeat(3000), 1n)));
  await b.delta(records(entry('k3', '3', 3n), entry('L'.repeat(600), 'long', 3n)));
  const report = await compactor.run();
  const reasons = Object.fromEntries(report.unreadable.map(({ name, reason }) => [name, reason]));
  expect(reasons).toEqual({
    [crowded]: 'there are more than 10000 DBIs',
    [large]: expect.stringContaining('at most 2000 are allowed') as string,
  });
  // A key that no agent takes is carried along: compacting loses nothing.
  expect(report.entries).toBe(2);
  const state = plain(await freshState(store));
  expect(Object.keys(state)).toEqual(['records']);
  expect(Object.keys(state['records'] ?? {})).toEqual(['4c'.repeat(600), '6b31', '6b33']);
});

test('an object whose inside belongs to another name is left alone', async () => {
  const { store, a, compactor } = twoWriters();
  const first = await a.delta(records(entry('k1', '1', 1n)));
  const second = await a.delta(records(entry('k2', '2', 2n)));
  const bytes = (await readObject(store, first)) ?? Buffer.alloc(0);
  await store.put(second, bytesBody(bytes), SIGNAL);
  const report = await compactor.run();
  expect(report.unreadable.map(({ name }) => name)).toEqual([second]);
  expect((await manifestOf(store)).vector.get(a.stream)).toBe(1n);
});

test("upstream's snapshots are input like ours", async () => {
  const { store, a, compactor } = twoWriters();
  const upstream = 'main__go__20231114-221320-123456889__GX.pb.gz';
  const bytes = encodeSnapshot({ instance: 'go' }, records(entry('k', 'from upstream', 4n)));
  await store.put(upstream, bytesBody(bytes), SIGNAL);
  await a.delta(records(entry('k', 'ours', 3n)));
  const before = plain(await freshState(store));
  const report = await compactor.run();
  expect(report.foldedObjects).toBe(2);
  expect(report.deleted).toContain(upstream);
  expect(plain(await freshState(store))).toEqual(before);
});

test('where upstream reads, every instance keeps its newest full snapshot and the base is copied', async () => {
  const { store, a, b, compactor } = twoWriters({ upstreamReads: true });
  const old = await a.snapshot(records(entry('k1', '1', 1n)));
  const newest = await a.snapshot(records(entry('k1', '2', 2n)));
  const other = await b.snapshot(records(entry('k2', '2', 2n)));
  const report = await compactor.run();
  expect(report.deleted).toEqual([old]);
  const after = await names(store);
  expect(after).toEqual(expect.arrayContaining([newest, other]));
  const copies = after.filter((name) => /^main__compacted__[^.]*\.pb\.gz$/.test(name));
  expect(copies).toHaveLength(1);
  expect(await readObject(store, copies[0] ?? '')).toEqual(
    await readObject(store, report.written ?? ''),
  );
  await a.delta(records(entry('k1', '3', 3n)));
  const next = await compactor.run();
  expect(next.deleted).toEqual(expect.arrayContaining(copies));
});

test('what is covered stays for must_keep, counted from the publication', async () => {
  const { store, a, compactor } = twoWriters({ mustKeepMs: 600_000 });
  const first = await a.snapshot(records(entry('k', '1', 1n)));
  expect((await compactor.run()).deleted).toEqual([]);
  compactor.advanceMs(300_000);
  const second = await a.delta(records(entry('k', '2', 2n)));
  expect((await compactor.run()).deleted).toEqual([]);
  compactor.advanceMs(300_000);
  const third = await a.delta(records(entry('k', '3', 3n)));
  expect((await compactor.run()).deleted).toEqual([first]);
  compactor.advanceMs(300_000);
  expect((await compactor.run()).deleted).toContain(second);
  compactor.advanceMs(600_000);
  expect((await compactor.run()).deleted).toContain(third);
  const { level1 } = await manifestOf(store);
  compactor.advanceMs(600_000);
  await compactor.run();
  expect(await names(store)).toHaveLength(level1.length + 2);
});

describe('tombstones', () => {
  const day = 24 * 3600 * 1000;
  const old = 1_000_000_000_000_000_000n;

  test('that are older than the retention are dropped when every listed object is in the base', async () => {
    const { store, a, compactor } = twoWriters({ tombstoneRetentionMs: 30 * day });
    await a.snapshot(
      records(
        entry('gone', undefined, old),
        entry('late', undefined, compactor.nowNs),
        entry('k', 'v', old),
      ),
    );
    const report = await compactor.run();
    expect(report).toMatchObject({ entries: 2, tombstones: 1 });
    expect(Object.keys(plain(await freshState(store))['records'] ?? {})).toEqual(
      ['k', 'late'].map((key) => Buffer.from(key).toString('hex')),
    );
  });

  test('stay as long as one listed object is not in it', async () => {
    const { a, b, compactor, store } = twoWriters({ tombstoneRetentionMs: 30 * day });
    await a.snapshot(records(entry('gone', undefined, old)));
    const damaged = await b.delta(records(entry('gone', 'live', old - 1n)));
    await store.put(damaged, bytesBody(Buffer.from('?')), SIGNAL);
    expect(await compactor.run()).toMatchObject({ entries: 1, tombstones: 1 });
  });

  test('are never dropped into a level-1 delta, which lies above a live value', async () => {
    const { store, a, compactor } = twoWriters({
      tombstoneRetentionMs: 30 * day,
      smallBaseBytes: 0,
      baseDueRatio: 1000,
    });
    await a.snapshot(records(entry('k', 'live', old)));
    await compactor.run();
    const today = new TestWriter(store, { instance: 'a', run: 'run2', timeNs: compactor.nowNs });
    await today.delta(records(entry('k', undefined, old + 1n)));
    expect(await compactor.run()).toMatchObject({ level: 'level1' });
    expect(plain(await freshState(store))['records']).toEqual({ '6b': `${old + 1n} deleted` });
    compactor.advanceMs(25 * 3600 * 1000);
    expect(await compactor.run()).toMatchObject({ level: 'base', entries: 0 });
    expect(plain(await freshState(store))).toEqual({});
  });

  test('are kept for ever without a retention', async () => {
    const { a, compactor } = twoWriters();
    await a.snapshot(records(entry('gone', undefined, 1n)));
    expect(await compactor.run()).toMatchObject({ tombstones: 1 });
  });
});

test('an object that does not fit the base is found out and left, the others go in', async () => {
  const { store, a, b, compactor } = twoWriters();
  await a.snapshot([{ name: 'd', entries: [entry('k', 'v', 1n)] }]);
  await compactor.run();
  const wrong = await b.delta([
    { name: 'd', flags: 4, transform: 'dupsort_hack_v1', entries: [entry('kk', 'v', 2n)] },
  ]);
  await a.delta([{ name: 'd', entries: [entry('k2', 'v', 2n)] }]);
  const report = await compactor.run();
  expect(report.unreadable.map(({ name }) => name)).toEqual([wrong]);
  expect(report.outcome).toBe('published');
  expect((await manifestOf(store)).vector.get(a.stream)).toBe(2n);
});

test('a run out of time leaves everything as it was', async () => {
  const { store, a, compactor } = twoWriters();
  await a.snapshot(records(entry('k', 'v', 1n)));
  const before = await names(store);
  expect(await compactor.run({ deadlineMs: 0 })).toMatchObject({ outcome: 'out-of-time' });
  expect(await names(store)).toEqual(before);
});

test('a damaged manifest is an error and nothing is touched', async () => {
  const { store, a, compactor } = twoWriters();
  await a.snapshot(records(entry('k', 'v', 1n)));
  await store.put(manifestName('main'), bytesBody(Buffer.from('{}')), SIGNAL);
  await expect(compactor.run()).rejects.toMatchObject({ code: 'MESSAGE_INVALID' });
  expect(await names(store)).toHaveLength(2);
});

test('names of bases ascend even when the clock steps back', async () => {
  const { a, compactor } = twoWriters();
  await a.snapshot(records(entry('k', 'v', 1n)));
  const first = parseObjectName((await compactor.run()).written ?? '');
  compactor.advanceMs(-3600_000);
  await a.delta(records(entry('k', 'w', 2n)));
  const second = parseObjectName((await compactor.run()).written ?? '');
  expect(second?.timeNs).toBeGreaterThan(first?.timeNs ?? 0n);
});

test('must_keep is counted from the publication, not from the beginning of a long run', async () => {
  const { store, a, compactor } = twoWriters({ mustKeepMs: 600_000 });
  const first = await a.snapshot(records(entry('k', '1', 1n)));
  const startNs = compactor.nowNs;
  // Nine minutes go by between the first look at the clock and the next one.
  let looks = 0;
  await compactor.run({ nowNs: () => startNs + (looks++ === 0 ? 0n : 540_000_000_000n) });
  compactor.nowNs = startNs;
  compactor.advanceMs(600_000);
  expect((await compactor.run()).deleted).toEqual([]);
  compactor.advanceMs(540_000);
  expect((await compactor.run()).deleted).toEqual([first]);
  expect(await names(store)).toHaveLength(2);
});
