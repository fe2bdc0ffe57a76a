import { BaseParts } from '../../../agent/engine/base-parts.ts';
import type { ObjectMerger } from '../../../agent/engine/object-merger.ts';
import { Receiver } from '../../../agent/engine/receiver.ts';
import type { EngineDeps } from '../../../agent/engine/types.ts';
import { VectorTracker } from '../../../agent/engine/vector-tracker.ts';
import { parseManifest, type Manifest } from '../../../protocol/manifest.ts';
import {
  manifestName,
  parseObjectName,
  streamOf,
  type ObjectName,
} from '../../../protocol/object-name.ts';
import { bytesBody } from '../../../storage/bodies.ts';
import { MemoryObjectStore } from '../../../storage/memory.ts';
import type { VersionVector } from '../../../protocol/version-vector.ts';
import {
  SIGNAL,
  TestCompactor,
  TestWriter,
  encodeSnapshot,
  entry,
  readObject,
} from '../../support/compaction.ts';
import { SyncObservers } from '../../../agent/monitor/sync-observers.ts';
import { engineSettings } from '../../support/engine.ts';

let gets: string[];
let failing: boolean;
let unreadable: string | undefined;
let store: MemoryObjectStore;
let writer: TestWriter;
let compactor: TestCompactor;
let nextTime: bigint;

/** A base with number 1 of the stream, and level-1 deltas with the numbers after it. */
beforeEach(async () => {
  gets = [];
  failing = false;
  unreadable = undefined;
  nextTime = 1n;
  store = new MemoryObjectStore();
  writer = new TestWriter(store, { instance: 'b', run: 'run1' });
  compactor = new TestCompactor(store, { smallBaseBytes: 0, baseDueRatio: 1e9 });
  await writer.snapshot([{ name: 'd', entries: [entry('k0', 'v', 1n)] }]);
  await compactor.run();
});

async function addLevel1(): Promise<Manifest> {
  nextTime += 1n;
  await writer.delta([{ name: 'd', entries: [entry(`k${nextTime}`, 'v', nextTime)] }]);
  await compactor.run();
  return manifest();
}

async function manifest(): Promise<Manifest> {
  const bytes = await readObject(store, manifestName('main'));
  if (bytes === undefined) {
    throw new Error('nothing is published');
  }
  return parseManifest(bytes);
}

/** The bucket as agents see it, which notes what they get. */
const watched = new Proxy({} as MemoryObjectStore, {
  get(_, key: keyof MemoryObjectStore) {
    if (key !== 'get') {
      return store[key].bind(store);
    }
    return (...args: Parameters<MemoryObjectStore['get']>) => {
      gets.push(args[1].firstBytes === undefined ? args[0] : `head of ${args[0]}`);
      const fails = failing || args[0] === unreadable;
      return fails ? Promise.reject(new Error('no answer')) : store.get(...args);
    };
  },
});

function upTo(seq: bigint): VersionVector {
  return new Map([[writer.stream, seq]]);
}

/** A receiver whose merges only move the vector; `merged` names them. */
function startReceiver(vector: VersionVector) {
  const merged: string[] = [];
  const tracker = new VectorTracker(vector);
  const merger = {
    isQuarantined: () => false,
    isLeftOut: () => false,
    releaseExcept: () => {},
    async fetch(object: ObjectName) {
      const got = await watched.get(object.name, { signal: SIGNAL });
      if (got === undefined) {
        return { kind: 'missing' };
      }
      // What the base itself says it covers, as the real one reads from it.
      const absorbed = { ...object, vector: upTo(1n) };
      return { kind: 'fetched', fetched: { object, absorbed, release: async () => {} } };
    },
    async merge({ object, absorbed, published }: Parameters<ObjectMerger['merge']>[0]) {
      merged.push(object.name);
      tracker.absorb([published ?? absorbed]);
      return 'merged' as const;
    },
  } as unknown as ObjectMerger;
  const deps = {
    settings: engineSettings(),
    store: watched,
    clock: { nowNs: () => 1n },
    observer: new SyncObservers([]),
    log: { warn: () => {}, debug: () => {}, error: () => {} },
  } as unknown as EngineDeps;
  const ownStream = streamOf('a', 'runa');
  return { merged, tracker, receiver: new Receiver(deps, { tracker, merger, ownStream }) };
}

test('a host that has the base merges the level-1 deltas only, and remembers what it covers', async () => {
  const first = await addLevel1();
  const { merged, tracker, receiver } = startReceiver(upTo(1n));
  expect(await receiver.pass({ signal: SIGNAL })).toMatchObject({ complete: true });
  expect(merged).toEqual(first.level1);
  expect(tracker.vector).toEqual(first.vector);
  expect(gets.filter((name) => name.includes(first.base))).toEqual([`head of ${first.base}`]);
  gets.length = 0;
  const second = await addLevel1();
  expect(second.base).toBe(first.base);
  expect(await receiver.pass({ signal: SIGNAL })).toMatchObject({ complete: true });
  expect(gets).toEqual([manifestName('main'), ...second.level1]);
  expect(tracker.vector).toEqual(second.vector);
});

test('a host without data merges all of it without a look at the head, and needs none later', async () => {
  const { base, level1 } = await addLevel1();
  const { merged, receiver } = startReceiver(new Map());
  await receiver.pass({ signal: SIGNAL });
  expect(merged).toEqual([base, ...level1]);
  gets.length = 0;
  const next = await addLevel1();
  await receiver.pass({ signal: SIGNAL });
  expect(gets).toEqual([manifestName('main'), ...next.level1]);
});

test('the vector moves with the last part of a state only: what could not be read is read by the next pass', async () => {
  const { base, level1, vector } = await addLevel1();
  const { merged, tracker, receiver } = startReceiver(new Map());
  unreadable = level1[0];
  expect(await receiver.pass({ signal: SIGNAL })).toMatchObject({ complete: false });
  expect(merged).toEqual([base]);
  expect(tracker.vector).toEqual(new Map());
  unreadable = undefined;
  expect(await receiver.pass({ signal: SIGNAL })).toMatchObject({ complete: true });
  expect(merged.slice(1)).toEqual([base, ...level1]);
  expect(tracker.vector).toEqual(vector);
});

test('while the head cannot be read the pass is incomplete and nothing is merged', async () => {
  await addLevel1();
  const { merged, tracker, receiver } = startReceiver(upTo(1n));
  const original = store.get.bind(store);
  store.get = (name, options) =>
    options.firstBytes === undefined ? original(name, options) : Promise.reject(new Error('cut'));
  expect(await receiver.pass({ signal: SIGNAL })).toMatchObject({ complete: false, retry: true });
  expect(merged).toEqual([]);
  expect(tracker.vector).toEqual(upTo(1n));
});

describe('which parts are missing', () => {
  test('all, for a host that lacks anything of the base', async () => {
    const published = await addLevel1();
    const other: VersionVector = new Map([[streamOf('c', 'runc'), 5n]]);
    const parts = new BaseParts(watched);
    expect(await parts.missing(published, other, SIGNAL)).toEqual([
      published.base,
      ...published.level1,
    ]);
    // Asked again, with the base: the head is known.
    expect(await parts.missing(published, upTo(1n), SIGNAL)).toEqual(published.level1);
    expect(gets).toEqual([`head of ${published.base}`]);
  });

  test('all, and no request, where there are no deltas or the host has no data', async () => {
    const alone = await manifest();
    const published = await addLevel1();
    const parts = new BaseParts(watched);
    expect(await parts.missing(alone, upTo(1n), SIGNAL)).toEqual([alone.base]);
    expect(await parts.missing(published, new Map(), SIGNAL)).toHaveLength(2);
    expect(gets).toEqual([]);
  });

  test('unknown, where the base is gone', async () => {
    const published = await addLevel1();
    await store.delete(published.base, SIGNAL);
    expect(await new BaseParts(watched).missing(published, upTo(1n), SIGNAL)).toBeUndefined();
  });

  test.each([
    ['damaged', () => Buffer.from('no gzip at all')],
    ['cut off in its head', () => encodeSnapshot({ instance: 'compacted' }, []).subarray(0, 12)],
    ['of another object', () => encodeSnapshot({ instance: 'x', vector: upTo(1n) }, [])],
  ])('all, where the base is %s: reading the whole says why', async (_, bytes) => {
    const published = await addLevel1();
    await store.put(published.base, bytesBody(bytes()), SIGNAL);
    expect(parseObjectName(published.base)?.kind).toBe('base');
    const missing = await new BaseParts(watched).missing(published, upTo(1n), SIGNAL);
    expect(missing).toEqual([published.base, ...published.level1]);
  });

  test('it rejects where storage fails', async () => {
    const published = await addLevel1();
    failing = true;
    await expect(new BaseParts(watched).missing(published, upTo(1n), SIGNAL)).rejects.toThrow(
      'no answer',
    );
  });
});
