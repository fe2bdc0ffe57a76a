import { sleep } from '../../agent/pacing/sleep.ts';
import { bytesBody } from '../../storage/bodies.ts';
import { MemoryObjectStore } from '../../storage/memory.ts';
import type { ObjectBody } from '../../storage/object-store.ts';
import {
  isUpdateMarkerText,
  MarkedStore,
  UPDATE_MARKER,
  UpdateMarker,
  updateMarkerText,
} from '../../storage/update-marker.ts';
import { objectStoreConformance, readAll } from '../support/object-store-conformance.ts';

const never = new AbortController().signal;
const BODY = bytesBody(Buffer.from('x'));
const FULL = (seq: number) => `main__a__20240131-235959-01234567${seq}__Grx__S${seq}.pb.gz`;
const DELTA = (seq: number) => FULL(seq).replace('.pb.gz', '.delta.pb.gz');

/** Shows each text of the marker before it is stored; what throws there is a failure. */
class ObservedStore extends MemoryObjectStore {
  readonly #onMarker: (text: string) => void;

  constructor(onMarker: (text: string) => void) {
    super();
    this.#onMarker = onMarker;
  }

  override async put(name: string, body: ObjectBody, signal: AbortSignal): Promise<void> {
    if (name === UPDATE_MARKER) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of body.open()) {
        chunks.push(chunk);
      }
      this.#onMarker(Buffer.concat(chunks).toString());
    }
    await super.put(name, body, signal);
  }
}

/** A marked memory store whose time goes by the test's steps. */
class World {
  readonly texts: string[] = [];
  readonly failures: unknown[] = [];
  written = 0;
  fails: Error | undefined;
  nowMs = 1000;
  #sleeping: { untilMs: number; end: () => void } | undefined;
  readonly inner: ObservedStore;
  readonly store: MarkedStore;

  constructor(ownObjectsGapMs = 0) {
    this.inner = new ObservedStore((text) => {
      if (this.fails !== undefined) {
        throw this.fails;
      }
      this.texts.push(text);
    });
    this.store = new MarkedStore(
      this.inner,
      new UpdateMarker({
        store: this.inner,
        globalPrefix: 'dns/',
        ownObjectsGapMs,
        nowNs: () => BigInt(this.nowMs) * 1_000_000n,
        monotonicMs: () => this.nowMs,
        sleep: (ms, signal) =>
          new Promise((resolve, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason as Error));
            this.#sleeping = { untilMs: this.nowMs + ms, end: resolve };
          }),
        onWritten: () => (this.written += 1),
        onFailed: (error) => this.failures.push(error),
      }),
    );
  }

  /** Lets time go by, and everything that is due then. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    await settle();
    while (this.#sleeping !== undefined && this.#sleeping.untilMs <= endMs) {
      this.nowMs = this.#sleeping.untilMs;
      const { end } = this.#sleeping;
      this.#sleeping = undefined;
      end();
      await settle();
    }
    this.nowMs = endMs;
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('the text is upstream’s: full name, etag, nanoseconds, deletion', () => {
  expect(updateMarkerText({ name: 'p/x', etag: 'E', deleted: false }, 5n)).toBe('p/x:E:5:false');
  expect(updateMarkerText({ name: 'p/x', etag: '', deleted: true }, 6n)).toBe('p/x::6:true');
  expect(
    isUpdateMarkerText('foo-1:9a0364b9e99bb480dd25e1f0284c8555:1717171717171717171:false'),
  ).toBe(true);
  expect(isUpdateMarkerText('a:b::1:true')).toBe(true);
  for (const text of ['', 'x', 'a:b:1:maybe', ':e:1:true', 'a:b:-1:true', 'a:b:1:true\n']) {
    expect(isUpdateMarkerText(text)).toBe(false);
  }
});

test('each store and deletion is followed by a marker of its own time', async () => {
  const world = new World();
  const { store } = world;
  await store.create(FULL(1), BODY, never);
  await world.pass(100);
  await store.put(FULL(1), BODY, never);
  await world.pass(100);
  const etag = await store.putIfUnchanged('main__compacted.manifest.json', Buffer.from('m'), {
    signal: never,
    etag: undefined,
  });
  expect(etag).toBeDefined();
  await world.pass(100);
  await store.delete(FULL(1), never);
  await world.pass(100);
  // Our own earlier attempt, whose answer was lost: nobody may have been told.
  await store.create(FULL(2), BODY, never);
  await world.pass(100);
  expect(await store.create(FULL(2), BODY, never)).toBe('exists');
  await world.pass(100);
  expect(world.texts).toEqual([
    `dns/${FULL(1)}::1000000000:false`,
    `dns/${FULL(1)}::1100000000:false`,
    'dns/main__compacted.manifest.json::1200000000:false',
    `dns/${FULL(1)}::1300000000:true`,
    `dns/${FULL(2)}::1400000000:false`,
    `dns/${FULL(2)}::1500000000:false`,
  ]);
});

test('what did not happen is not marked: a lost race, a failed write', async () => {
  const world = new World();
  const lost = { signal: never, etag: '"nobody"' };
  expect(await world.store.putIfUnchanged('x', Buffer.from('m'), lost)).toBeUndefined();
  const short: ObjectBody = { sizeBytes: 9, open: () => BODY.open() };
  await expect(world.store.create(FULL(1), short, never)).rejects.toThrow('body');
  await world.pass(60_000);
  expect(world.texts).toEqual([]);
});

test('what is written together shares a marker, the last one written after the last of it', async () => {
  const world = new World();
  for (let seq = 1; seq <= 9; seq += 1) {
    await world.store.delete(FULL(seq), never);
    await world.pass(10);
  }
  await world.pass(1000);
  expect(world.texts).toEqual([
    `dns/${FULL(1)}::1000000000:true`,
    `dns/${FULL(9)}::1100000000:true`,
  ]);
});

test('beside notices, deltas share a marker for a while; a full snapshot has its own at once', async () => {
  const world = new World(60_000);
  for (let seq = 1; seq <= 9; seq += 1) {
    await world.store.create(DELTA(seq), BODY, never);
    await world.pass(1000);
  }
  expect(world.texts).toEqual([`dns/${DELTA(1)}::1000000000:false`]);
  await world.store.create(FULL(1), BODY, never);
  await settle();
  expect(world.texts.slice(1)).toEqual([`dns/${FULL(1)}::10000000000:false`]);
  await world.store.create(DELTA(1).replace('S1', 'S99'), BODY, never);
  await world.pass(59_000);
  expect(world.texts).toHaveLength(2);
  await world.pass(1000);
  expect(world.texts).toHaveLength(3);
});

test('a marker that cannot be written does not fail the write, and is tried until it works', async () => {
  const world = new World();
  world.fails = new Error('denied');
  expect(await world.store.create(FULL(1), BODY, never)).toBe('stored');
  await world.pass(10_000);
  const tries = world.failures.length;
  expect(tries).toBeGreaterThan(2);
  expect(tries).toBeLessThan(10);
  expect(world.written).toBe(0);
  world.fails = undefined;
  await world.pass(60_000);
  expect(world.written).toBe(1);
  expect(world.texts).toHaveLength(1);
});

test('closing writes what is due, once, and waits for nothing else', async () => {
  const world = new World(60_000);
  await world.store.create(DELTA(1), BODY, never);
  await settle();
  await world.store.create(DELTA(2), BODY, never);
  await world.store.close();
  expect(world.texts.map((text) => text.split(':')[0])).toEqual([
    `dns/${DELTA(1)}`,
    `dns/${DELTA(2)}`,
  ]);

  const failing = new World();
  failing.fails = new Error('cut off');
  await failing.store.create(FULL(1), BODY, never);
  await settle();
  await failing.store.close();
  expect(failing.failures.length).toBeLessThanOrEqual(2);
});

test('the marker is in no listing, and can be read by its name', async () => {
  const world = new World();
  await world.store.create(FULL(1), BODY, never);
  await world.store.close();
  const names: string[] = [];
  for await (const { name } of world.store.list('', { signal: never })) {
    names.push(name);
  }
  expect(names).toEqual([FULL(1)]);
  const got = await world.store.get(UPDATE_MARKER, { signal: never });
  expect((await readAll(got)).toString()).toBe(world.texts[0]);
});

describe('a marked store', () => {
  let current: MarkedStore;
  objectStoreConformance({
    // The marker is kept in another store, so that the requests counted are those of the rules.
    open: async (hooks) => {
      const marker = new UpdateMarker({
        store: new MemoryObjectStore(),
        globalPrefix: '',
        ownObjectsGapMs: 0,
        nowNs: () => 1n,
        monotonicMs: () => performance.now(),
        sleep,
      });
      current = new MarkedStore(new MemoryObjectStore(hooks), marker);
      return current;
    },
    openSame: async () => current,
  });
});
