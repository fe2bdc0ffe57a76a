import { MemoryObjectStore } from '../../storage/memory.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { compareNames } from '../../storage/names.ts';
import {
  bodyOf,
  listAll,
  objectStoreConformance,
  readAll,
} from '../support/object-store-conformance.ts';

describe('memory store', () => {
  let current: ObjectStore;
  objectStoreConformance({
    open: async (hooks) => (current = new MemoryObjectStore(hooks)),
    openSame: async () => current,
  });

  test('chunks are copies: a reader may keep, change or transfer them', async () => {
    const store = new MemoryObjectStore();
    const { signal } = new AbortController();
    await store.put('a', bodyOf('hello'), signal);
    (await readAll(await store.get('a', { signal }))).fill(0);
    for await (const chunk of (await store.get('a', { signal }))?.body ?? []) {
      chunk.fill(0);
    }
    expect((await readAll(await store.get('a', { signal }))).toString()).toBe('hello');
  });

  test('times come from the clock it was given', async () => {
    const store = new MemoryObjectStore({ nowMs: () => 42 });
    await store.put('a', bodyOf(''), new AbortController().signal);
    expect((await listAll(store, '')).map((info) => info.lastModifiedMs)).toEqual([42]);
  });
});

test('names are ordered by their UTF-8 bytes', () => {
  const names = ['', 'a', 'ab', 'b', 'ü', '\u{e000}', '\u{ffff}', '\u{10000}', '\u{1f600}'];
  for (const a of names) {
    for (const b of names) {
      expect(Math.sign(compareNames(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }
  }
});
