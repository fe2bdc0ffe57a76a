import type { LocalDatabase } from '../../../agent/lmdb/local-database.ts';
import { before } from '../../support/interpose.ts';
import { dumpRaw, objectSpool } from '../../support/lmdb.ts';
import { LmdbHost, REMOTE_STREAM } from '../../support/lmdb-host.ts';

// The application commits in the moments between two steps of ours.

let host: LmdbHost;

beforeEach(() => {
  host = new LmdbHost();
});

afterEach(async () => {
  jest.restoreAllMocks();
  await host.close();
});

async function filled(): Promise<LocalDatabase> {
  host.application.write((txn) => {
    txn.put('zones', 'a', { value: 'local', ts: 100 });
    txn.put('zones', 'b', { value: 'local', ts: 100 });
  });
  const db = await host.start();
  await host.sendAll(db);
  return db;
}

describe('between our commit and the next look', () => {
  // A merge begins with a look; the one behind its commit is the second.
  test('a write that loses against what was just merged is put back and sent', async () => {
    const db = await filled();
    before('beginRead', 2, () => host.application.put('zones', 'a', { value: 'between', ts: 150 }));
    await host.merge(db, 'a', { value: 'merged', ts: 200 });
    expect(await db.detect()).toMatchObject({ pendingKeys: 1 });
    expect(host.zones().a).toMatchObject({ value: 'merged', ts: 200n });
    expect(await host.sendDelta(db)).toEqual({ zones: { a: 'merged@200' } });
  });

  test('a key that is new with the merge and removed again comes back', async () => {
    const db = await filled();
    before('beginRead', 2, () => host.application.remove('zones', 'new'));
    await host.merge(db, 'new', { value: 'merged', ts: 200 });
    expect(await db.detect()).toMatchObject({ pendingKeys: 1 });
    expect(host.zones().new).toMatchObject({ value: 'merged', ts: 200n });
  });

  test('a newer write is a local change like any other', async () => {
    const db = await filled();
    before('beginRead', 2, () => host.application.put('zones', 'a', { value: 'newest', ts: 300 }));
    await host.merge(db, 'a', { value: 'merged', ts: 200 });
    expect(await db.detect()).toMatchObject({ regressions: 0, pendingKeys: 1 });
    expect(await host.sendDelta(db)).toEqual({ zones: { a: 'newest@300' } });
  });

  test('a write to another key is a local change, and what was merged stays an echo', async () => {
    const db = await filled();
    before('beginRead', 2, () => host.application.put('zones', 'b', { value: 'newer', ts: 300 }));
    await host.merge(db, 'a', { value: 'merged', ts: 200 });
    expect(await host.sendDelta(db)).toEqual({ zones: { b: 'newer@300' } });
  });
});

describe('between the comparison and the write lock', () => {
  test('a newer local write is not replaced', async () => {
    const db = await filled();
    before('write', 1, () => host.application.put('zones', 'a', { value: 'newest', ts: 300 }));
    const merged = await host.merge(db, 'a', { value: 'merged', ts: 200 });
    expect(merged.changed).toBe(0);
    expect(host.zones().a).toMatchObject({ value: 'newest', ts: 300n });
    expect(await host.sendDelta(db)).toEqual({ zones: { a: 'newest@300' } });
  });

  test('a local regression is put back in the same transaction', async () => {
    const db = await filled();
    before('write', 1, () => host.application.put('zones', 'b', { value: 'old', ts: 50 }));
    const merged = await host.merge(db, 'a', { value: 'merged', ts: 200 });
    expect(merged).toMatchObject({ changed: 1, transactions: 1, detection: { regressions: 1 } });
    expect(host.zones()).toMatchObject({
      a: { value: 'merged', txn: host.zones().b?.txn },
      b: { value: 'local', ts: 100n },
    });
    // Local entries are in it: it does not count as merged, and after a kill all of it is sent.
    const keys = Object.keys(dumpRaw(host.file)._sync_state ?? {});
    expect(keys.filter((key) => key.startsWith('merged/'))).toEqual([]);
    expect((await host.sendDelta(db)).zones).toMatchObject({ b: 'local@100' });
  });

  test('a regression below what comes in ends with what comes in', async () => {
    const db = await filled();
    before('write', 1, () => host.application.put('zones', 'a', { value: 'old', ts: 50 }));
    await host.merge(db, 'a', { value: 'merged', ts: 200 });
    expect(host.zones().a).toMatchObject({ value: 'merged', ts: 200n });
    await db.detect();
    expect(host.zones().a).toMatchObject({ value: 'merged', ts: 200n });
  });

  test('a dropped DBI comes back with its entries and the merged ones', async () => {
    const db = await filled();
    before('write', 1, () => host.application.write((txn) => txn.drop('zones')));
    await host.merge(db, 'c', { value: 'merged', ts: 200 });
    expect(host.zones()).toMatchObject({
      a: { value: 'local' },
      b: { value: 'local' },
      c: { value: 'merged' },
    });
  });
});

test('a regression that the application mends itself, before we could, leaves nothing behind', async () => {
  const db = await filled();
  host.application.put('zones', 'a', { value: 'old', ts: 50 });
  before('write', 1, () => host.application.put('zones', 'a', { value: 'mended', ts: 300 }));
  expect(await db.detect()).toMatchObject({ regressions: 0 });
  // Our transaction wrote nothing: its id is the one of the application's next.
  host.application.put('zones', 'b', { value: 'next', ts: 301 });
  expect(await host.sendDelta(db)).toEqual({ zones: { a: 'mended@300', b: 'next@301' } });
});

test('a merge of slices goes on from what the application writes between them', async () => {
  const entries: Record<string, { value: string; ts: number }> = {};
  for (let i = 0; i < 5000; i += 1) {
    entries[`key-${String(i).padStart(5, '0')}`] = { value: 'r', ts: 200 };
  }
  const db = await host.start({ maxLockHoldMs: 1 });
  before('write', 2, () =>
    host.application.write((txn) => {
      txn.put('zones', 'key-00000', { value: 'older', ts: 150 });
      txn.put('zones', 'key-04999', { value: 'newer', ts: 300 });
    }),
  );
  const spool = objectSpool({ zones: { entries } });
  const merged = await db.merge({ name: 'x', spool, vector: new Map([[REMOTE_STREAM, 1n]]) });
  expect(merged.transactions).toBeGreaterThan(1);
  await db.detect();
  expect(host.zones()['key-00000']).toMatchObject({ value: 'r', ts: 200n });
  expect(host.zones()['key-04999']).toMatchObject({ value: 'newer', ts: 300n });
  expect(Object.keys(host.zones())).toHaveLength(5000);
});
