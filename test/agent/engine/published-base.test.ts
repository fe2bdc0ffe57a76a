import { SyncError } from '../../../protocol/errors.ts';
import {
  basePositionOf,
  encodeManifest,
  parseManifest,
  publishedVector,
  type Manifest,
} from '../../../protocol/manifest.ts';
import { manifestName, parseObjectName } from '../../../protocol/object-name.ts';
import { covers, type VersionVector } from '../../../protocol/version-vector.ts';
import { bytesBody } from '../../../storage/bodies.ts';
import { MemoryObjectStore } from '../../../storage/memory.ts';
import type { ObjectStore } from '../../../storage/object-store.ts';
import {
  SIGNAL,
  TestCompactor,
  TestWriter,
  entry,
  names,
  overriding,
  plain,
  readObject,
} from '../../support/compaction.ts';
import { FreshReader } from '../../support/readers/fresh-reader.ts';

let gets: string[];
let unreadable: string | undefined;
let store: MemoryObjectStore;
let writer: TestWriter;
let compactor: TestCompactor;
let nextTime: bigint;
let watched: ObjectStore;

/** A base with number 1 of the stream, and level-1 deltas with the numbers after it. */
beforeEach(async () => {
  gets = [];
  unreadable = undefined;
  nextTime = 1n;
  store = new MemoryObjectStore();
  writer = new TestWriter(store, { instance: 'b', run: 'run1' });
  compactor = new TestCompactor(store, { smallBaseBytes: 0, baseDueRatio: 1e9 });
  watched = overriding(store, {
    get: (name, options) => {
      gets.push(name);
      return name === unreadable
        ? Promise.reject(new Error('no answer'))
        : store.get(name, options);
    },
  });
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

function reader(vector: VersionVector = new Map()): FreshReader {
  return new FreshReader(watched, { vector });
}

test('a host that has the base merges the level-1 deltas only', async () => {
  const before = publishedVector(await manifest());
  const first = await addLevel1();
  const { merged, tracker, receiver } = reader(before);
  expect(await receiver.pass({ signal: SIGNAL })).toMatchObject({ complete: true });
  expect(merged).toEqual(first.level1);
  expect(tracker.vector).toEqual(publishedVector(first));
  expect(gets).toEqual([manifestName('main'), ...first.level1]);
});

test('a listing that does not show the manifest yet is no sign that it is gone', async () => {
  const published = await addLevel1();
  const lagging = overriding(watched, {
    async *list(...args) {
      for await (const info of watched.list(...args)) {
        if (parseObjectName(info.name)?.instance === 'b') {
          yield info;
        }
      }
    },
  });
  const { receiver } = new FreshReader(lagging, { vector: publishedVector(published) });
  const pass = await receiver.pass({ signal: SIGNAL });
  expect(pass).toMatchObject({ complete: true });
  expect(pass.manifest).toEqual(published);
  await store.delete(manifestName('main'), SIGNAL);
  expect((await receiver.pass({ signal: SIGNAL })).manifest).toBeUndefined();
});

test('a host without data merges all of it, and later only what is new', async () => {
  const { base, level1 } = await addLevel1();
  const { merged, receiver } = reader();
  await receiver.pass({ signal: SIGNAL });
  expect(merged).toEqual([base, ...level1]);
  gets.length = 0;
  const next = await addLevel1();
  await receiver.pass({ signal: SIGNAL });
  expect(gets).toEqual([manifestName('main'), ...next.level1.slice(-1)]);
});

test('a host that covers the vector and knows what has left it reads nothing, and has the state then', async () => {
  const published = await addLevel1();
  const { merged, tracker, receiver } = reader(published.vector);
  expect(await receiver.pass({ signal: SIGNAL })).toMatchObject({ complete: true });
  expect(merged).toEqual([]);
  expect(covers(tracker.vector, basePositionOf(published))).toBe(true);
});

test('the vector moves with the last part of a state only: what could not be read is read by the next pass', async () => {
  const published = await addLevel1();
  const { base, level1 } = published;
  const { merged, tracker, receiver } = reader();
  unreadable = level1[0];
  expect(await receiver.pass({ signal: SIGNAL })).toMatchObject({ complete: false, retry: true });
  expect(merged).toEqual([base]);
  expect(tracker.vector).toEqual(new Map());
  unreadable = undefined;
  expect(await receiver.pass({ signal: SIGNAL })).toMatchObject({ complete: true });
  expect(merged.slice(1)).toEqual([base, ...level1]);
  expect(tracker.vector).toEqual(publishedVector(published));
});

describe('after two quiet days, when every stream has left the vector', () => {
  beforeEach(async () => {
    await addLevel1();
    for (let day = 0; day < 4; day += 1) {
      compactor.advanceMs(24 * 3600 * 1000);
      await compactor.run();
    }
  });

  test('a new host reads what is published', async () => {
    expect((await manifest()).vector).toEqual(new Map());
    const { state, receiver } = reader();
    expect(await receiver.pass({ signal: SIGNAL })).toMatchObject({ complete: true });
    expect(Object.keys(plain(state)['d'] ?? {})).toHaveLength(2);
  });

  test('a host that was there then reads nothing again', async () => {
    const host = reader();
    await host.pass();
    const before = host.merged.length;
    compactor.advanceMs(24 * 3600 * 1000);
    await compactor.run();
    expect(await host.pass()).toMatchObject({ complete: true });
    expect(host.merged).toHaveLength(before);
  });
});

test('what one host was away for is in the base that it reads again', async () => {
  const host = reader();
  await host.pass();
  const away = await addLevel1();
  for (let day = 0; day < 4; day += 1) {
    compactor.advanceMs(24 * 3600 * 1000);
    await compactor.run();
  }
  // Its vector covers all that is left in the manifest's.
  expect((await manifest()).vector.size).toBeLessThan(away.vector.size);
  await host.pass();
  expect(Object.keys(plain(host.state)['d'] ?? {})).toHaveLength(2);
});

test('a manifest with the streams of a large fleet is read', async () => {
  const published = await manifest();
  const many = Array.from({ length: 120_000 }, (_, at) => [
    `host-with-a-rather-long-name-${at}.abcdefghijkl`,
    1n,
  ]);
  const vector = new Map([...published.vector, ...(many as [])]);
  const bytes = encodeManifest({ ...published, vector });
  expect(bytes.length).toBeGreaterThan(6 * 1024 * 1024);
  await store.put(manifestName('main'), bytesBody(bytes), SIGNAL);
  const { state, receiver } = reader();
  expect(await receiver.pass({ signal: SIGNAL })).toMatchObject({ complete: true });
  expect(Object.keys(plain(state)['d'] ?? {})).toHaveLength(1);
});

describe('a base that is gone', () => {
  test('stops nothing else: what is listed is merged, and the pass is not complete', async () => {
    const { base } = await manifest();
    const tail = await writer.delta([{ name: 'd', entries: [entry('tail', 'v', 9n)] }]);
    await store.delete(base, SIGNAL);
    const failed: string[] = [];
    const host = new FreshReader(store, {
      observer: { stepFailed: (step, error) => failed.push(`${step}: ${String(error)}`) },
    });
    const result = await host.pass();
    expect(result).toMatchObject({ complete: false, retry: false, base: { kind: 'lost' } });
    expect(result.unreadable).toBeInstanceOf(SyncError);
    expect(host.merged).toEqual([tail]);
    expect(failed[0]).toContain(`base: SyncError: ${base} is named by the manifest`);
  });

  test('is noticed by a host that has it, which then owes the bucket a full snapshot', async () => {
    const host = reader();
    await host.pass();
    expect(host.proof.isDue).toBe(false);
    await store.delete((await manifest()).base, SIGNAL);
    expect(await host.pass()).toMatchObject({ complete: false, base: { kind: 'lost' } });
    expect(host.proof.isDue).toBe(true);
  });

  test('with its manifest is noticed, too', async () => {
    const host = reader();
    await host.pass();
    await store.delete(manifestName('main'), SIGNAL);
    await host.pass();
    expect(host.proof.isDue).toBe(true);
  });

  test('and was made anew from what is listed is noticed by the lineage', async () => {
    const host = reader();
    await host.pass();
    await store.delete((await manifest()).base, SIGNAL);
    await writer.delta([{ name: 'd', entries: [entry('tail', 'v', 9n)] }]);
    await compactor.run();
    expect(await host.pass()).toMatchObject({ complete: true, base: { kind: 'stored' } });
    expect(host.proof.isDue).toBe(true);
  });

  test('is none where somebody has published meanwhile', async () => {
    const { base } = await manifest();
    let published = false;
    watched = overriding(store, {
      get: async (name, options) => {
        if (name === base && !published) {
          published = true;
          compactor.policy = { ...compactor.policy, smallBaseBytes: 1e9 };
          await addLevel1();
        }
        return store.get(name, options);
      },
    });
    const host = new FreshReader(watched);
    expect(await host.pass()).toMatchObject({ complete: true, base: { kind: 'stored' } });
    expect(await names(store)).not.toContain(base);
    expect(host.proof.isDue).toBe(false);
  });

  test('damaged, too: it is left out, and named', async () => {
    const { base } = await manifest();
    await store.put(base, bytesBody(Buffer.from('no gzip at all')), SIGNAL);
    expect(parseObjectName(base)?.kind).toBe('base');
    expect(await reader().pass()).toMatchObject({ complete: false, base: { kind: 'lost' } });
  });
});
