import { randomBytes } from 'node:crypto';

import { bytesBody } from '../../storage/bodies.ts';
import type {
  FetchedObject,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
} from '../../storage/object-store.ts';
import type { RequestReport, StoreHooks } from '../../storage/requests.ts';

export type ConformanceSubject = {
  /** A store on nothing yet stored; called once per test. */
  readonly open: (hooks: StoreHooks) => Promise<ObjectStore>;
  /** Another store on the same objects as the one opened last, as another process would have it. */
  readonly openSame: () => Promise<ObjectStore>;
  /** Ends what `open` made besides the store. */
  readonly cleanUp?: () => Promise<void>;
  readonly bigBodyBytes?: number;
};

/** Bytes of a text. */
export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
/** A body of a text. */
export const bodyOf = (text: string): ObjectBody => bytesBody(bytesOf(text));

/** The whole body of a fetched object. */
export async function readAll(object: FetchedObject | undefined): Promise<Buffer> {
  if (object === undefined) {
    throw new Error('no such object');
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of object.body) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Everything a listing yields. */
export async function listAll(
  store: ObjectStore,
  prefix: string,
  startAfter?: string,
): Promise<ObjectInfo[]> {
  const infos: ObjectInfo[] = [];
  const signal = new AbortController().signal;
  for await (const info of store.list(prefix, { signal, startAfter })) {
    infos.push(info);
  }
  return infos;
}

/** A body in many chunks, each a copy, that can be opened again. */
export function chunkedBody(bytes: Uint8Array, chunkBytes: number): ObjectBody {
  return {
    sizeBytes: bytes.byteLength,
    async *open() {
      for (let at = 0; at < bytes.byteLength; at += chunkBytes) {
        yield bytes.slice(at, at + chunkBytes);
      }
    },
  };
}

const ODD_NAMES = [
  'main__host-a__20240131-235959-012345678__GX.pb.gz',
  'main__host-a__20240131-235959-012345678__Gk3j9x0s2m1qa__S17.delta.pb.gz',
  'with space & plus+percent%20=equals.txt',
  'quotes\'and"more;,@!$()~#?.txt',
  'ümläut-\u{ff5e}-\u{1f600}.txt',
  '<xml>&amp;.txt',
];

/** The rules that every object store keeps; call it inside a `describe`. */
export function objectStoreConformance(subject: ConformanceSubject): void {
  let store: ObjectStore;
  const others: ObjectStore[] = [];
  let reports: RequestReport[] = [];
  const signal = new AbortController().signal;

  beforeEach(async () => {
    reports = [];
    store = await subject.open({ onRequest: (report) => reports.push(report) });
  });
  afterEach(async () => {
    await Promise.all([store, ...others.splice(0)].map((each) => each.close()));
    await subject.cleanUp?.();
  });
  const openSame = async () => {
    const other = await subject.openSame();
    others.push(other);
    return other;
  };

  test('an object comes back as it was stored, also through another store', async () => {
    expect(await store.create('a', bodyOf('hello'), signal)).toBe('stored');
    const object = await store.get('a', { signal });
    expect(object?.sizeBytes).toBe(5);
    expect((await readAll(object)).toString()).toBe('hello');
    const other = await openSame();
    expect((await readAll(await other.get('a', { signal }))).toString()).toBe('hello');
  });

  test('an object that is not there is undefined', async () => {
    expect(await store.get('missing', { signal })).toBeUndefined();
  });

  test('an empty object is an object', async () => {
    await store.create('empty', bodyOf(''), signal);
    const object = await store.get('empty', { signal });
    expect(object?.sizeBytes).toBe(0);
    expect(await readAll(object)).toHaveLength(0);
    expect(await readAll(await store.get('empty', { signal, firstBytes: 10 }))).toHaveLength(0);
  });

  test('a large object streams both ways, byte for byte', async () => {
    const bytes = randomBytes(subject.bigBodyBytes ?? 20 * 1024 * 1024 + 7);
    expect(await store.create('big', chunkedBody(bytes, 300_001), signal)).toBe('stored');
    expect((await readAll(await store.get('big', { signal }))).equals(bytes)).toBe(true);
    expect(await store.create('big', chunkedBody(bytes, 300_001), signal)).toBe('exists');
    await store.put('big', chunkedBody(bytes.subarray(1), 1_000_000), signal);
    const replaced = await readAll(await store.get('big', { signal }));
    expect(replaced.equals(bytes.subarray(1))).toBe(true);
  });

  test('the first bytes of an object can be had alone', async () => {
    await store.create('a', bodyOf('0123456789'), signal);
    const object = await store.get('a', { signal, firstBytes: 4 });
    expect(object?.sizeBytes).toBe(10);
    const head = (await readAll(object)).toString();
    expect(head.length).toBeGreaterThanOrEqual(4);
    expect('0123456789'.startsWith(head)).toBe(true);
    const whole = await store.get('a', { signal, firstBytes: 1000 });
    expect((await readAll(whole)).toString()).toBe('0123456789');
  });

  test('creating a name twice keeps the first object', async () => {
    expect(await store.create('a', bodyOf('first'), signal)).toBe('stored');
    expect(await store.create('a', bodyOf('second'), signal)).toBe('exists');
    expect((await readAll(await store.get('a', { signal }))).toString()).toBe('first');
  });

  test('of many who create one name at once exactly one stores it', async () => {
    const stores = [store, await openSame(), await openSame()];
    const results = await Promise.all(
      Array.from({ length: 12 }, async (_, i) => ({
        text: `writer ${i}`,
        result: await stores[i % stores.length]?.create('race', bodyOf(`writer ${i}`), signal),
      })),
    );
    const winners = results.filter(({ result }) => result === 'stored');
    expect(winners).toHaveLength(1);
    const kept = (await readAll(await store.get('race', { signal }))).toString();
    expect(kept).toBe(winners[0]?.text);
  });

  test('put replaces an object, with another etag', async () => {
    await store.put('a', bodyOf('one'), signal);
    const before = await store.get('a', { signal });
    await readAll(before);
    await store.put('a', bodyOf('two'), signal);
    const after = await store.get('a', { signal });
    expect((await readAll(after)).toString()).toBe('two');
    expect(after?.etag).not.toBe(before?.etag);
  });

  test('a conditional write needs the etag that a read, a listing or the last write gave', async () => {
    const first = await store.putIfUnchanged('m', bytesOf('1'), { signal, etag: undefined });
    expect(first).toBeDefined();
    expect(
      await store.putIfUnchanged('m', bytesOf('x'), { signal, etag: undefined }),
    ).toBeUndefined();
    const second = await store.putIfUnchanged('m', bytesOf('2'), { signal, etag: first });
    expect(second).toBeDefined();
    expect(await store.putIfUnchanged('m', bytesOf('x'), { signal, etag: first })).toBeUndefined();
    const read = await store.get('m', { signal });
    expect((await readAll(read)).toString()).toBe('2');
    expect(read?.etag).toBe(second);
    const third = await store.putIfUnchanged('m', bytesOf('3'), { signal, etag: read?.etag });
    expect(third).toBeDefined();
    const listed = (await listAll(store, 'm'))[0]?.etag;
    expect(await store.putIfUnchanged('m', bytesOf('4'), { signal, etag: listed })).toBeDefined();
  });

  test('a conditional write on an object that is gone loses', async () => {
    const etag = await store.putIfUnchanged('m', bytesOf('1'), { signal, etag: undefined });
    await store.delete('m', signal);
    expect(await store.putIfUnchanged('m', bytesOf('2'), { signal, etag })).toBeUndefined();
    expect(await store.get('m', { signal })).toBeUndefined();
  });

  test('of ten conditional writes at once exactly one wins, round after round', async () => {
    const stores = [store, await openSame()];
    let etag: string | undefined;
    for (let round = 0; round < 4; round++) {
      const expected = etag;
      const results = await Promise.all(
        Array.from({ length: 10 }, async (_, i) => {
          const text = `round ${round} writer ${i}`;
          const writer = i % 2 === 0 ? store : (stores[1] ?? store);
          return {
            text,
            etag: await writer.putIfUnchanged('m', bytesOf(text), { signal, etag: expected }),
          };
        }),
      );
      const winners = results.filter((result) => result.etag !== undefined);
      expect(winners).toHaveLength(1);
      etag = winners[0]?.etag;
      expect((await readAll(await store.get('m', { signal }))).toString()).toBe(winners[0]?.text);
    }
  });

  test('deleting twice is no error', async () => {
    await store.create('a', bodyOf('x'), signal);
    await store.delete('a', signal);
    await store.delete('a', signal);
    expect(await store.get('a', { signal })).toBeUndefined();
    expect(await listAll(store, '')).toEqual([]);
  });

  test('a listing is in byte order, by prefix, after a name, with sizes', async () => {
    const names = ['b', 'a-2', 'a-10', 'a', 'A', 'a_', 'a-\u{ff5e}', 'a-\u{1f600}', 'a-ü', 'zz'];
    for (const name of names) {
      await store.create(name, bodyOf(name), signal);
    }
    const sorted = names.toSorted((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
    const all = await listAll(store, '');
    expect(all.map(({ name }) => name)).toEqual(sorted);
    expect(all.map(({ sizeBytes }) => sizeBytes)).toEqual(sorted.map((n) => Buffer.byteLength(n)));
    const dashed = sorted.filter((name) => name.startsWith('a-'));
    expect((await listAll(store, 'a-')).map(({ name }) => name)).toEqual(dashed);
    expect((await listAll(store, 'a-', 'a-2')).map(({ name }) => name)).toEqual(
      dashed.slice(dashed.indexOf('a-2') + 1),
    );
    expect(await listAll(store, 'a-', 'b')).toEqual([]);
    expect(await listAll(store, 'nothing')).toEqual([]);
  });

  test('odd names are names', async () => {
    for (const name of ODD_NAMES) {
      expect(await store.create(name, bodyOf(`of ${name}`), signal)).toBe('stored');
    }
    expect((await listAll(store, '')).map(({ name }) => name)).toEqual(
      ODD_NAMES.toSorted((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y))),
    );
    for (const name of ODD_NAMES) {
      expect((await readAll(await store.get(name, { signal }))).toString()).toBe(`of ${name}`);
      await store.delete(name, signal);
    }
    expect(await listAll(store, '')).toEqual([]);
  });

  test('a body of another length than announced is not stored', async () => {
    for (const sizeBytes of [1, 9]) {
      const body = { ...bodyOf('hello'), sizeBytes };
      await expect(store.create('a', body, signal)).rejects.toMatchObject({
        code: 'STORAGE_FAILED',
      });
    }
    expect(await store.get('a', { signal })).toBeUndefined();
    expect(await listAll(store, '')).toEqual([]);
  });

  test('a body that fails is not stored and its failure comes through', async () => {
    const failing: ObjectBody = {
      sizeBytes: 12_000_000,
      async *open() {
        yield new Uint8Array(11_000_000);
        throw new Error('spool is gone');
      },
    };
    await expect(store.put('a', failing, signal)).rejects.toThrow('spool is gone');
    expect(await store.get('a', { signal })).toBeUndefined();
  });

  test('an aborted signal ends every operation with an abort', async () => {
    await store.create('a', bodyOf('x'), signal);
    const aborted = AbortSignal.abort();
    const abort = { name: 'AbortError' };
    await expect(store.get('a', { signal: aborted })).rejects.toMatchObject(abort);
    await expect(store.create('b', bodyOf('x'), aborted)).rejects.toMatchObject(abort);
    await expect(store.put('b', bodyOf('x'), aborted)).rejects.toMatchObject(abort);
    await expect(store.delete('a', aborted)).rejects.toMatchObject(abort);
    await expect(
      store.putIfUnchanged('b', bytesOf('x'), { signal: aborted, etag: undefined }),
    ).rejects.toMatchObject(abort);
    await expect(
      store.list('', { signal: aborted })[Symbol.asyncIterator]().next(),
    ).rejects.toMatchObject(abort);
    expect((await listAll(store, '')).map(({ name }) => name)).toEqual(['a']);
  });

  test('an abort while a large body is under way leaves no object', async () => {
    const controller = new AbortController();
    const body: ObjectBody = {
      sizeBytes: 24_000_000,
      async *open() {
        yield new Uint8Array(12_000_000);
        controller.abort();
        yield new Uint8Array(12_000_000);
      },
    };
    await expect(store.create('a', body, controller.signal)).rejects.toMatchObject({
      name: 'AbortError',
    });
    expect(await store.get('a', { signal })).toBeUndefined();
  });

  test('an abort ends a download', async () => {
    await store.create('big', chunkedBody(new Uint8Array(6_000_000), 1_000_000), signal);
    const controller = new AbortController();
    const object = await store.get('big', { signal: controller.signal });
    const reading = (async () => {
      for await (const chunk of object?.body ?? []) {
        expect(chunk.byteLength).toBeGreaterThan(0);
        controller.abort();
      }
    })();
    await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('every request is reported by kind', async () => {
    await store.create('a', bodyOf('x'), signal);
    await readAll(await store.get('a', { signal }));
    await listAll(store, '');
    await store.delete('a', signal);
    const usual = reports.filter(({ kind }) => !kind.startsWith('create-'));
    expect(usual.map(({ kind }) => kind)).toEqual(['store', 'load', 'list', 'delete']);
    expect(usual.every(({ durationMs }) => durationMs >= 0)).toBe(true);
    expect(usual.some(({ error }) => error !== undefined)).toBe(false);
  });
}
