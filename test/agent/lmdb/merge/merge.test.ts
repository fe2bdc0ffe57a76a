import { DataFile, listDbis } from '../../../../agent/lmdb/pages/data-file.ts';
import { SavedVector } from '../../../../agent/lmdb/saved-vector.ts';
import { SYNC_STATE_DBI } from '../../../../agent/lmdb/state-value.ts';
import { encodeVectorJson } from '../../../../protocol/version-vector.ts';
import {
  dbiFlags,
  dumpEntries,
  dumpRaw,
  lastTxn,
  objectBytes,
  objectSpool,
  readEncoded,
  type ObjectContent,
} from '../../../support/lmdb.ts';
import { LmdbHost, OWN_STREAM, REMOTE_STREAM } from '../../../support/lmdb-host.ts';
import { writeSpool, type Spool } from '../../../../agent/spool.ts';
import { bytesBody } from '../../../../storage/bodies.ts';
import { errorCodeOf } from '../../../support/fixtures.ts';

const MDB_INTEGERKEY = 8;
const MDB_DUPSORT = 4;

let host: LmdbHost;

beforeEach(() => {
  host = new LmdbHost();
});

afterEach(() => host.close());

function vector(seq: bigint): Map<typeof REMOTE_STREAM, bigint> {
  return new Map([[REMOTE_STREAM, seq]]);
}

/** The vector in the file. */
function storedVector(): unknown {
  using data = DataFile.open(host.file);
  const record = listDbis(data, data.readMeta()).get(SYNC_STATE_DBI);
  return encodeVectorJson(SavedVector.read(data, record).positions);
}

test('newer entries win, older ones lose, and the vector is stored with them', async () => {
  host.application.write((txn) => {
    txn.put('zones', 'local newer', { value: 'local', ts: 200 });
    txn.put('zones', 'remote newer', { value: 'local', ts: 100 });
    txn.put('zones', 'tie', { value: 'b', ts: 100 });
    txn.put('zones', 'deleted', { value: 'local', ts: 100 });
  });
  const db = await host.start();
  const spool = objectSpool({
    zones: {
      entries: {
        'local newer': { value: 'remote', ts: 100 },
        'remote newer': { value: 'remote', ts: 200 },
        tie: { value: 'a', ts: 100 },
        deleted: { deleted: true, ts: 200 },
        'only remote': { value: 'remote', ts: 1 },
      },
    },
  });
  const merged = await db.merge({ name: 'object', spool, vector: vector(3n) });
  expect(merged).toMatchObject({ entries: 5, changed: 4, transactions: 1, createdDbis: [] });
  expect(host.zones()).toMatchObject({
    'local newer': { value: 'local', ts: 200n },
    'remote newer': { value: 'remote', ts: 200n },
    tie: { value: 'a', ts: 100n },
    deleted: { value: '', deleted: true, ts: 200n },
    'only remote': { value: 'remote', ts: 1n },
  });
  expect(storedVector()).toEqual({ [REMOTE_STREAM]: '3' });
  expect(host.zones()['only remote']?.txn).toBe(lastTxn(host.file));
});

test('a second merge of the same object makes no transaction', async () => {
  const db = await host.start();
  const entry = { value: '1', ts: 10 };
  expect(await host.merge(db, 'a', entry)).toMatchObject({ transactions: 1 });
  const before = lastTxn(host.file);
  expect(await host.merge(db, 'a', { ...entry, seq: 2n })).toMatchObject({
    transactions: 0,
    changed: 0,
    lockHeldMaxMs: 0,
  });
  expect(lastTxn(host.file)).toBe(before);
  // Its place in the vector waits for the next transaction.
  expect(storedVector()).toEqual({ [REMOTE_STREAM]: '1' });
  await db.persist({ vector: vector(2n) });
  expect(storedVector()).toEqual({ [REMOTE_STREAM]: '2' });
});

test('a merge that would hold the lock too long is split, and the vector comes with the last part', async () => {
  const entries: ObjectContent[string]['entries'] = {};
  for (let i = 0; i < 30_000; i += 1) {
    entries[`key-${i}`.padEnd(40, '.')] = { value: 'v', ts: 10 };
  }
  const db = await host.start({ maxLockHoldMs: 5 });
  const spool = objectSpool({ zones: { entries } });
  const merged = await db.merge({ name: 'object', spool, vector: vector(9n) });
  expect(merged.changed).toBe(30_000);
  expect(merged.transactions).toBeGreaterThan(1);
  expect(storedVector()).toEqual({ [REMOTE_STREAM]: '9' });
  // One unbroken row of our own transactions: one range.
  const { _sync_state: state = {} } = dumpRaw(host.file);
  expect(Object.keys(state).filter((key) => key.startsWith('merged/'))).toHaveLength(1);
  expect(await db.detect()).toMatchObject({ pendingKeys: 0, regressions: 0 });
});

test('the ids of merges stay one range while nobody else writes, and begin another one after that', async () => {
  host.application.put('zones', 'a', { value: '1', ts: 10 });
  const db = await host.start();
  await host.sendAll(db);
  for (let i = 0; i < 20; i += 1) {
    await host.merge(db, 'b', { value: `${i}`, ts: 20 + i, seq: BigInt(i) });
    if (i === 5) {
      await db.persist({ vector: vector(5n), lastSyncNs: 5n });
    }
  }
  host.application.put('zones', 'c', { value: 'local', ts: 100 });
  await host.merge(db, 'd', { value: 'D', ts: 101, seq: 30n });
  const { _sync_state: state = {} } = dumpRaw(host.file);
  expect(Object.keys(state).filter((key) => key.startsWith('merged/'))).toHaveLength(2);
  await host.kill(db);
  const second = await host.start({ run: 'runb' });
  expect(await host.sendDelta(second)).toEqual({ zones: { c: 'local@100' } });
});

describe('an object that is damaged at its end', () => {
  function cut(content: ObjectContent): Spool {
    const bytes = objectBytes(content);
    return { kind: 'memory', bytes: bytes.subarray(0, bytes.length - 9) };
  }

  test('changes nothing', async () => {
    const db = await host.start();
    const spool = cut({ zones: { entries: { a: { value: '1', ts: 10 } } } });
    const before = lastTxn(host.file);
    expect(await errorCodeOf(() => db.merge({ name: 'x', spool, vector: vector(1n) }))).toBe(
      'SNAPSHOT_CORRUPT',
    );
    expect(lastTxn(host.file)).toBe(before);
    expect(await host.merge(db, 'a', { value: '2', ts: 20 })).toMatchObject({ changed: 1 });
  });

  test('changes nothing when it is larger than what is held in memory, and is merged when whole', async () => {
    const entries: ObjectContent[string]['entries'] = {};
    for (let i = 0; i < 300; i += 1) {
      entries[`key-${i}`] = { value: `${i}-`.repeat(40_000), ts: 10 };
    }
    const db = await host.start({ mapSizeBytes: 512 * 1024 ** 2 });
    const before = lastTxn(host.file);
    const damaged = { name: 'x', spool: cut({ zones: { entries } }), vector: vector(1n) };
    expect(await errorCodeOf(() => db.merge(damaged))).toBe('SNAPSHOT_CORRUPT');
    expect(lastTxn(host.file)).toBe(before);
    const body = bytesBody(objectBytes({ zones: { entries } })).open();
    const spool = await writeSpool(body, { memoryBytes: 10, folder: host.folder });
    const merged = await db.merge({ name: 'x', spool, vector: vector(1n) });
    expect(merged.changed).toBe(300);
    expect(merged.transactions).toBeGreaterThan(1);
    expect(Object.keys(host.zones())).toHaveLength(300);
    expect(storedVector()).toEqual({ [REMOTE_STREAM]: '1' });
    expect(await db.detect()).toMatchObject({ pendingKeys: 0 });
  });
});

test('DBIs are created with the flags of the object, empty ones too, and integer keys are in their order', async () => {
  const db = await host.start();
  const key = (id: number) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(id);
    return bytes.toString('latin1');
  };
  const content: ObjectContent = {
    empty: { entries: {} },
    ids: { flags: MDB_INTEGERKEY, entries: {} },
  };
  for (const id of [1, 255, 256, 65_536, 3]) {
    content.ids!.entries[key(id)] = { value: `${id}`, ts: 10 };
  }
  const merged = await db.merge({ name: 'x', spool: objectSpool(content), vector: vector(1n) });
  expect(merged.createdDbis.toSorted()).toEqual(['empty', 'ids']);
  expect(dbiFlags(host.file)).toMatchObject({ empty: 0, ids: MDB_INTEGERKEY });
  expect(Object.values(dumpEntries(host.file).ids ?? {}).map(({ value }) => value)).toEqual([
    '1',
    '3',
    '255',
    '256',
    '65536',
  ]);
  // A second one into the existing DBI, and out again.
  content.ids!.entries = { [key(2)]: { value: '2', ts: 10 }, [key(255)]: { value: 'new', ts: 20 } };
  await db.merge({ name: 'x', spool: objectSpool(content), vector: vector(2n) });
  const { object } = await db.encodeSnapshot(host.next());
  const { ids } = await readEncoded(object!.spool);
  expect(Object.values(ids ?? {})).toEqual([
    '1@10',
    '2@10',
    '3@10',
    'new@20',
    '256@10',
    '65536@10',
  ]);
});

test('private DBIs of an object are left out and named', async () => {
  const db = await host.start();
  const spool = objectSpool({
    _sync_shadow_zones: { entries: { a: { value: '1', ts: 10 } } },
    zones: { entries: { a: { value: '1', ts: 10 } } },
  });
  const merged = await db.merge({ name: 'x', spool, vector: vector(1n) });
  expect(merged).toMatchObject({ skippedDbis: ['_sync_shadow_zones'], changed: 1 });
  expect(dbiFlags(host.file)._sync_shadow_zones).toBeUndefined();
});

test.each<[string, ObjectContent[string]]>([
  ['duplicates', { flags: MDB_DUPSORT, entries: {} }],
  ['a transform', { transform: 'dupsort_hack_v1', entries: {} }],
])('an object with %s is rejected and changes nothing', async (_, dbi) => {
  const db = await host.start();
  const before = lastTxn(host.file);
  const spool = objectSpool({ good: { entries: { a: { value: '1', ts: 10 } } }, zones: dbi });
  expect(await errorCodeOf(() => db.merge({ name: 'x', spool, vector: vector(1n) }))).toBe(
    'SNAPSHOT_REJECTED',
  );
  expect(lastTxn(host.file)).toBe(before);
});

test('a key that no DBI of integers can have is left out and named, and the others are merged', async () => {
  const db = await host.start();
  const spool = objectSpool({
    zones: { flags: MDB_INTEGERKEY, entries: { abc: { ts: 1 }, abcd: { value: '1', ts: 10 } } },
  });
  const merged = await db.merge({ name: 'x', spool, vector: vector(1n) });
  expect(merged).toMatchObject({ changed: 1, leftOut: { entries: 1 } });
  expect(merged.leftOut?.first).toContain('DBI zones, key "abc"');
  expect(Object.keys(host.zones())).toEqual(['abcd']);
});

test('a local value without a header stays as it is, and the others are merged', async () => {
  host.application.put('zones', 'bad', { raw: Buffer.from('no header here'), ts: 0 });
  const db = await host.start({ schemaCheck: false });
  const spool = objectSpool({
    zones: { entries: { bad: { value: '1', ts: 10 }, good: { value: '2', ts: 10 } } },
  });
  const merged = await db.merge({ name: 'x', spool, vector: vector(1n) });
  expect(merged).toMatchObject({ changed: 1, detection: { invalidValues: 1 } });
  expect(host.zones().bad?.value).toMatch(/^raw:/);
  expect(host.zones().good?.value).toBe('2');
});

test('repeated and unsorted keys in one object: the winner is stored', async () => {
  const db = await host.start();
  const spool = objectSpool({
    zones: { entries: { b: { value: '1', ts: 10 }, a: { value: '2', ts: 10 } } },
  });
  await db.merge({ name: 'x', spool, vector: vector(1n) });
  expect(host.zones()).toMatchObject({ a: { value: '2' }, b: { value: '1' } });
});

test('entries in the future are merged and counted', async () => {
  const db = await host.start();
  const merged = await db.merge({
    name: 'x',
    spool: objectSpool({ zones: { entries: { a: { value: '1', ts: 2n ** 63n } } } }),
    vector: vector(1n),
  });
  expect(merged).toMatchObject({ changed: 1, futureEntries: 1 });
});

test('headers get a padding block where the configuration says so', async () => {
  const db = await host.start({ headerPadding: true });
  await host.merge(db, 'a', { value: '1', ts: 10 });
  const value = dumpRaw(host.file).zones?.a;
  expect(value).toHaveLength(24 + 8 + 1);
  expect(value?.readUInt16BE(22)).toBe(1);
});

test('a full snapshot made after merges says what it covers', async () => {
  const db = await host.start();
  await host.merge(db, 'a', { value: '1', ts: 10, seq: 4n });
  const { object } = await db.encodeSnapshot({ seq: 1n, timeNs: 1n });
  expect(object?.vector).toEqual(
    new Map([
      [REMOTE_STREAM, 4n],
      [OWN_STREAM, 1n],
    ]),
  );
});

test('a key that a merge made and the application removed at once comes back', async () => {
  const db = await host.start();
  await host.merge(db, 'a', { value: '1', ts: 10 });
  host.application.remove('zones', 'a');
  expect(await db.detect()).toMatchObject({ regressions: 1 });
  expect(host.zones().a?.value).toBe('1');
});
