import { basePositionOf } from '../../protocol/manifest.ts';
import { formatObjectName, streamOf, type StreamId } from '../../protocol/object-name.ts';
import { Claims } from '../../compaction/claims.ts';
import { type SortedListing, sortListing } from '../../compaction/listing.ts';
import { nextState, pruneStreams } from '../../compaction/next-state.ts';
import { DEFAULT_POLICY } from '../../compaction/policy.ts';
import { type PublishedState, encodePublishedState } from '../../compaction/upkeep.ts';
import { bytesBody } from '../../storage/bodies.ts';
import { MemoryObjectStore } from '../../storage/memory.ts';
import {
  SIGNAL,
  manifestOf,
  records,
  twoWriters,
  TestCompactor,
  TestWriter,
  entry,
  names,
  overriding,
  plain,
  readObject,
} from '../support/compaction.ts';
import { freshState } from '../support/readers/fresh-reader.ts';

describe('a number that is missing below another one', () => {
  async function withGap(options: { readonly young?: boolean } = {}) {
    const store = new MemoryObjectStore({ nowMs: () => 1_800_000_000_000 });
    const a = new TestWriter(store, { instance: 'a', run: 'run1' });
    const compactor = new TestCompactor(store);
    compactor.advanceMs(options.young === true ? 50_000 : 70_000);
    const first = await a.delta(records(entry('k1', '1', 1n)));
    const second = await a.delta(records(entry('k2', '2', 2n)));
    const bytes = (await readObject(store, second)) ?? Buffer.alloc(0);
    const third = await a.delta(records(entry('k3', '3', 3n)));
    await store.delete(second, SIGNAL);
    return { store, a, compactor, first, second, bytes, third };
  }

  test('was deleted, where everything listed was read: the stream counts to its end, and says that it was assumed', async () => {
    const { store, a, compactor } = await withGap();
    const before = plain(await freshState(store));
    expect(await compactor.run()).toMatchObject({ leftObjects: 0, foldedObjects: 2 });
    const { vector, assumed } = await manifestOf(store);
    expect(vector.get(a.stream)).toBe(3n);
    expect(assumed).toEqual(new Set([a.stream]));
    expect(plain(await freshState(store))).toEqual(before);
    await a.snapshot(records(entry('k1', '1', 1n)));
    await compactor.run();
    expect((await manifestOf(store)).assumed).toEqual(new Set());
  });

  test('may still come while the other one is young', async () => {
    const { store, a, compactor, second, bytes, third } = await withGap({ young: true });
    expect(await compactor.run()).toMatchObject({ leftObjects: 1 });
    expect((await manifestOf(store)).vector.get(a.stream)).toBe(1n);
    expect(await names(store)).toContain(third);
    await store.put(second, bytesBody(bytes), SIGNAL);
    await compactor.run();
    expect(await manifestOf(store)).toMatchObject({ entries: 3, assumed: new Set() });
  });

  test('keeps the gap open where something listed cannot be read', async () => {
    const { store, a, compactor } = await withGap();
    const b = new TestWriter(store, { instance: 'b', run: 'run2' });
    await store.put(await b.delta(records()), bytesBody(Buffer.from('?')), SIGNAL);
    await compactor.run();
    expect((await manifestOf(store)).vector.get(a.stream)).toBe(1n);
  });

  test('is read where only the first listing did not show it', async () => {
    const { store, a, compactor, second, bytes } = await withGap();
    let listings = 0;
    const lagging = {
      list: (...args: Parameters<MemoryObjectStore['list']>) => {
        listings += 1;
        return listings === 1 ? store.list(...args) : withSecond();
      },
    };
    async function* withSecond() {
      await store.put(second, bytesBody(bytes), SIGNAL);
      yield* store.list('main__', { signal: SIGNAL });
    }
    await compactor.run({ store: overriding(store, lagging) });
    expect((await manifestOf(store)).vector.get(a.stream)).toBe(1n);
    await compactor.run();
    expect(await manifestOf(store)).toMatchObject({ entries: 3, assumed: new Set() });
  });
});

test('a full snapshot says nothing of streams of others, whatever it claims', async () => {
  const { store, a, b, compactor } = twoWriters();
  const first = await a.delta(records(entry('k1', '1', 1n)));
  await a.delta(records(entry('k2', '2', 2n)));
  // It claims all that the other one will ever write, and the published states.
  const { stream: published } = basePositionOf({ lineage: undefined });
  await b.snapshot(
    [],
    new Map([
      [a.stream, 2n ** 63n],
      [published, 2n ** 63n],
    ]),
  );
  await store.put(first, bytesBody(Buffer.from('?')), SIGNAL);
  const report = await compactor.run();
  expect(report.unreadable.map(({ name }) => name)).toEqual([first]);
  expect((await manifestOf(store)).vector.get(a.stream)).toBeUndefined();
  expect(await names(store)).toContain(first);
});

describe('a stream without an object in the bucket', () => {
  const day = 24 * 3600 * 1000;

  test('leaves the vector after two days, and the manifest says which generation it was in', async () => {
    const { store, a, b, compactor } = twoWriters();
    await a.snapshot(records(entry('k', 'v', 1n)));
    await compactor.run();
    await compactor.run();
    compactor.advanceMs(day);
    await b.snapshot(records(entry('k2', 'v', 2n)));
    await compactor.run();
    expect((await manifestOf(store)).vector.has(a.stream)).toBe(true);
    compactor.advanceMs(1.5 * day);
    await compactor.run();
    const { vector, lineage } = await manifestOf(store);
    expect([...vector.keys()]).toEqual([b.stream]);
    expect(lineage?.prunedGeneration).toBeGreaterThan(0n);
    expect(lineage?.prunedGeneration).toBeLessThan(lineage?.generation ?? 0n);
  });

  test('does not leave while an object of it is listed', async () => {
    const { store, a, compactor } = twoWriters({ upstreamReads: true });
    await a.snapshot(records(entry('k', 'v', 1n)));
    await compactor.run();
    compactor.advanceMs(3 * day);
    await compactor.run();
    compactor.advanceMs(3 * day);
    await compactor.run();
    expect((await manifestOf(store)).vector.has(a.stream)).toBe(true);
  });
});

test('an instance with more streams than are taken is named, and the others are folded', async () => {
  const { store, a, compactor } = twoWriters();
  for (let run = 0; run < 1001; run += 1) {
    const restless = new TestWriter(store, { instance: 'b', run: `r${run}` });
    await restless.delta(records(entry(`k${run}`, 'v', 1n)));
  }
  await a.delta(records(entry('k', 'v', 2n)));
  const report = await compactor.run();
  expect(report).toMatchObject({ leftObjects: 1, foldedObjects: 1001 });
  expect(report.unreadable).toMatchObject([
    { reason: expect.stringContaining('instance b has 1000 streams') as string },
  ]);
  expect((await manifestOf(store)).vector.get(a.stream)).toBe(1n);
});

test('what comes back after tombstones were dropped is left alone and named', async () => {
  const { store, a, compactor } = twoWriters({ tombstoneRetentionMs: 30 * 24 * 3600 * 1000 });
  const live = await a.delta(records(entry('k', 'live', 1n)));
  const bytes = (await readObject(store, live)) ?? Buffer.alloc(0);
  await a.delta(records(entry('k', undefined, 2n)));
  await compactor.run();
  for (let day = 0; day < 4; day += 1) {
    compactor.advanceMs(24 * 3600 * 1000);
    await compactor.run();
  }
  expect(await manifestOf(store)).toMatchObject({ entries: 0, vector: new Map() });
  await store.put(live, bytesBody(bytes), SIGNAL);
  expect(await compactor.run()).toMatchObject({ setAside: [live], deleted: [] });
  expect(plain(await freshState(store))).toEqual({});
  expect(await manifestOf(store)).toMatchObject({ entries: 0, vector: new Map() });
});

test('a marked full snapshot behind its deltas is covered without being read', async () => {
  const { store, a, compactor } = twoWriters();
  await a.delta(records(entry('k', 'v', 1n)));
  const marked = await a.marked(records(entry('k', 'v', 1n)));
  const got: string[] = [];
  const watched = overriding(store, {
    get: (name, options) => {
      got.push(name);
      return store.get(name, options);
    },
  });
  expect(await compactor.run({ store: watched })).toMatchObject({ leftObjects: 0 });
  expect((await manifestOf(store)).vector.get(a.stream)).toBe(2n);
  expect(got).not.toContain(marked);
  const next = await a.marked(records(entry('k', 'v', 1n)));
  expect(await compactor.run({ store: watched })).toMatchObject({ level: 'none', leftObjects: 0 });
  expect((await manifestOf(store)).vector.get(a.stream)).toBe(3n);
  expect(got).not.toContain(next);
});

test('a marked full snapshot is read where a number below it is not listed', async () => {
  const { store, a, compactor } = twoWriters();
  const first = await a.delta(records(entry('k', 'v', 1n)));
  await a.marked(records(entry('k', 'v', 1n)));
  await store.delete(first, SIGNAL);
  await compactor.run();
  expect(await manifestOf(store)).toMatchObject({ entries: 1 });
});

test('a thousand agents that start anew each day leave a vector of the last days, however many there were', () => {
  const listing = (streams: readonly StreamId[]): SortedListing =>
    sortListing(
      'main',
      streams.map((stream) => {
        const [instance = '', run = ''] = stream.split('.');
        const parts = {
          database: 'main',
          instance,
          timeNs: 1n,
          run,
          seq: 1n,
          kind: 'delta',
        } as const;
        return { name: formatObjectName(parts), sizeBytes: 1, etag: 'e', lastModifiedMs: 0 };
      }),
    );
  const published = { entries: 1, tombstones: 0, publishedAtNs: 0n, rejoinBeforeNs: 0n };
  const base = 'main__compacted__20260101-000000-000000000__Gc1__S1.base.pb.gz';
  let before: PublishedState | undefined;
  for (let day = 0; day < 15; day += 1) {
    const nowNs = BigInt(day * 24 * 3600) * 1_000_000_000n;
    const streams = Array.from({ length: 1000 }, (_, at) => streamOf(`host-${at}`, `r${day}`));
    // In the morning everybody has stored something, in the evening it is folded and deleted.
    for (const listed of [streams, []]) {
      const claims = new Claims(before?.manifest);
      for (const stream of listed) {
        claims.readFull({ stream, seq: 1n });
      }
      const input = { before, listing: listing(listed), nowNs: nowNs + 1n };
      const state = pruneStreams(claims.state, input);
      const objects = { ...published, ...state, base, level1: [] };
      const more = { replaced: before, database: 'main', policy: DEFAULT_POLICY };
      const next = nextState({ ...input, ...more, objects, id: `m${day}`, conditionsProvenNs: 0n });
      before = next;
    }
  }
  expect(before?.manifest.vector.size).toBeLessThanOrEqual(4000);
  expect(before?.manifest.vector.get(streamOf('host-1', 'r14'))).toBe(1n);
  const bytes = before === undefined ? 0 : encodePublishedState(before).length;
  expect(bytes).toBeLessThan(600_000);
});
