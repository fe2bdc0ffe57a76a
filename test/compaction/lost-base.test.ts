import { encodeManifest } from '../../protocol/manifest.ts';
import { manifestName } from '../../protocol/object-name.ts';
import { bytesBody } from '../../storage/bodies.ts';
import type { MemoryObjectStore } from '../../storage/memory.ts';
import {
  SIGNAL,
  manifestOf,
  records,
  twoWriters,
  TestCompactor,
  entry,
  mergeBytes,
  overriding,
  plain,
  readObject,
  type State,
} from '../support/compaction.ts';

describe('a base that is', () => {
  async function withBase(policy = {}) {
    const all = twoWriters({ mustKeepMs: 1000, ...policy });
    const { a, compactor } = all;
    const full = await a.snapshot(records(entry('k', 'v', 1n)));
    const base = (await compactor.run()).written ?? '';
    const tail = await a.delta(records(entry('k2', 'v', 2n)));
    return { ...all, full, base, tail };
  }

  test.each(['gone', 'damaged'])('%s is replaced by one of what is listed', async (state) => {
    const { store, a, b, compactor, base } = await withBase();
    const { lineage, vector } = await manifestOf(store);
    const bytes = (await readObject(store, base)) ?? Buffer.alloc(0);
    await store.delete(base, SIGNAL);
    if (state === 'damaged') {
      await store.put(base, bytesBody(bytes.subarray(0, bytes.length - 9)), SIGNAL);
    }
    const report = await compactor.run();
    expect(report).toMatchObject({ outcome: 'published', lostBase: base, level: 'base' });
    const next = await manifestOf(store);
    expect(next.lineage?.id).not.toBe(lineage?.id);
    expect(next.lineage?.generation).toBe(1n);
    expect(vector.get(a.stream)).toBe(1n);
    expect(next.vector.get(a.stream)).toBe(2n);
    await b.delta(records(entry('k3', 'v', 3n)));
    expect(await compactor.run()).toMatchObject({ lostBase: undefined, outcome: 'published' });
    expect((await manifestOf(store)).lineage?.id).toBe(next.lineage?.id);
  });

  test('gone is not replaced where nothing is listed: the manifest waits for what hosts store', async () => {
    const { store, a, compactor, base, full, tail } = await withBase();
    for (const name of [base, full, tail]) {
      await store.delete(name, SIGNAL);
    }
    expect(await compactor.run()).toMatchObject({ outcome: 'nothing', lostBase: base });
    await a.snapshot(records(entry('k', 'v', 1n)));
    expect(await compactor.run()).toMatchObject({ outcome: 'published', lostBase: base });
    expect(await manifestOf(store)).toMatchObject({ entries: 1 });
  });

  test.each(['gone', 'damaged'])('%s takes nothing else of its state with it', async (state) => {
    const { store, b, compactor, full, base, tail } = await withBase({
      smallBaseBytes: 0,
      baseDueRatio: 1000,
    });
    expect(await compactor.run()).toMatchObject({ level: 'level1' });
    // What they were made of is gone, and so is its writer.
    await store.delete(full, SIGNAL);
    await store.delete(tail, SIGNAL);
    const bytes = (await readObject(store, base)) ?? Buffer.alloc(0);
    await store.delete(base, SIGNAL);
    if (state === 'damaged') {
      await store.put(base, bytesBody(bytes.subarray(0, bytes.length - 9)), SIGNAL);
    }
    await b.snapshot(records(entry('k3', 'v', 3n)));
    const report = await new TestCompactor(store).run();
    expect(report).toMatchObject({ outcome: 'published', lostBase: base, level: 'base' });
    const rebuilt: State = new Map();
    mergeBytes(rebuilt, (await readObject(store, report.written ?? '')) ?? Buffer.alloc(0));
    expect(plain(rebuilt)).toEqual({ records: { '6b32': '2 76', '6b33': '3 76' } });
    // What it covered is not claimed: its writer, where it lives, stores again what only the base held.
    expect([...(await manifestOf(store)).vector.keys()]).toEqual([b.stream]);
  });

  test('hurt on the way, also when it is looked at again, is no loss', async () => {
    const { store, compactor, base } = await withBase();
    const { lineage } = await manifestOf(store);
    let readings = 0;
    const hurting = {
      get: async (...args: Parameters<MemoryObjectStore['get']>) => {
        const got = await store.get(...args);
        if (args[0] !== base || got === undefined || args[1].firstBytes !== undefined) {
          return got;
        }
        readings += 1;
        const bytes = (await readObject(store, base)) ?? Buffer.alloc(0);
        const cut = bytesBody(bytes.subarray(0, bytes.length - 9));
        return readings <= 2 ? { ...got, body: cut.open() } : got;
      },
    };
    const run = compactor.run({ store: overriding(store, hurting) });
    await expect(run).rejects.toMatchObject({ code: 'SNAPSHOT_CORRUPT' });
    expect(readings).toBe(3);
    expect((await manifestOf(store)).lineage).toEqual(lineage);
    expect(await compactor.run()).toMatchObject({ outcome: 'published', lostBase: undefined });
  });

  test('published by somebody else meanwhile is no loss', async () => {
    const { store, compactor, base } = await withBase();
    const other = new TestCompactor(store, { mustKeepMs: 1000, level1CountMax: 0 });
    other.nowNs = compactor.nowNs;
    let published = false;
    const racing = {
      get: async (...args: Parameters<MemoryObjectStore['get']>) => {
        if (args[0] === base && !published) {
          published = true;
          await other.run();
          await store.delete(base, SIGNAL);
        }
        return store.get(...args);
      },
      // It does not show the base that was published a moment ago.
      async *list(...args: Parameters<MemoryObjectStore['list']>) {
        for await (const info of store.list(...args)) {
          if (info.name !== base) {
            yield info;
          }
        }
      },
    };
    await expect(compactor.run({ store: overriding(store, racing) })).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      retryable: true,
    });
    expect(published).toBe(true);
    expect((await manifestOf(store)).lineage?.generation).toBe(2n);
  });

  test('of earlier rules has its next state read by everybody, and nothing is deleted on its account', async () => {
    const { store, compactor, full } = await withBase();
    const { lineage: _lineage, ...earlier } = await manifestOf(store);
    await store.put(manifestName('main'), bytesBody(encodeManifest(earlier)), SIGNAL);
    compactor.advanceMs(3600_000);
    expect((await compactor.run()).deleted).toEqual([]);
    expect((await manifestOf(store)).lineage).toMatchObject({
      generation: 1n,
      prunedGeneration: 1n,
    });
    compactor.advanceMs(3600_000);
    expect((await compactor.run()).deleted).toContain(full);
  });
});
