import fs from 'node:fs';
import { MDB_INTEGERKEY } from '../../../../agent/lmdb/pages/layout.ts';
import { before } from '../../../support/interpose.ts';
import { dumpRaw, objectSpool, readEncoded } from '../../../support/lmdb.ts';
import { LmdbHost, OWN_STREAM, REMOTE_STREAM } from '../../../support/lmdb-host.ts';
import { setOtherOrder, swapAt } from '../../../support/lmdb-writer/disorder.ts';
import { ShadowHost } from '../../../support/shadow.ts';

const key = (i: number) => `k${String(i).padStart(4, '0')}`;
const DAMAGED = { name: 'zones', what: 'keys', cause: 'damage' };
const VECTOR = new Map([[REMOTE_STREAM, 1n]]);

afterEach(() => jest.restoreAllMocks());

describe('a DBI out of order, native schema', () => {
  let host: LmdbHost;
  beforeEach(() => {
    host = new LmdbHost();
    fill('zones', 300, 10);
    fill('other', 3, 10);
  });
  afterEach(() => host.close());

  function fill(dbi: string, count: number, ts: number): void {
    host.application.write((txn) => {
      for (let i = 0; i < count; i += 1) {
        txn.put(dbi, key(i), { value: `${i}`, ts });
      }
    });
  }

  const raw = () => dumpRaw(host.file)['zones'];

  /** Entries for both DBIs, all of them newer. */
  const remote = (seq = 1n) => ({
    name: 'object',
    spool: objectSpool({
      other: { entries: { [key(1)]: { value: 'remote', ts: 90 } } },
      zones: {
        entries: {
          [key(10)]: { value: 'remote', ts: 90 },
          [key(11)]: { ts: 90, deleted: true },
          new: { value: 'remote', ts: 90 },
        },
      },
    }),
    vector: new Map([[REMOTE_STREAM, seq]]),
  });

  test.each([
    ['damaged in one place', () => swapAt(host.file, 'zones', key(20)), 'damage'],
    [
      'with a comparison function of its own',
      () => setOtherOrder(host.file, 'zones', MDB_INTEGERKEY),
      'own order',
    ],
  ])(
    'at start, %s, is named and left out of what is sent; the others go on',
    async (_text, damage, cause) => {
      // Synced before: so the start scans.
      const first = await host.start();
      await host.sendAll(first);
      await host.kill(first);
      damage();
      const { db, result } = await host.opened();
      expect(result.refusedDbis).toEqual([{ ...DAMAGED, cause }]);
      host.application.put('other', 'new', { value: 'x', ts: 20 });
      expect(await host.sendDelta(db)).toEqual({ other: { new: 'x@20' } });
      // A whole state without it would count for older objects that hold its entries.
      host.application.put('other', 'more', { value: 'x', ts: 20 });
      const { object } = await db.encodeSnapshot(host.next());
      expect(object?.kind).toBe('delta');
      expect(await readEncoded(object!.spool)).toEqual({ other: { more: 'x@20' } });
    },
  );

  test('at the very first start is found before anything is merged', async () => {
    swapAt(host.file, 'zones', key(20));
    const unchanged = raw();
    const db = await host.start();
    const result = await db.merge(remote());
    expect(result).toMatchObject({ changed: 1, refusedDbis: ['zones'] });
    expect(result.detection.refusedDbis).toEqual([DAMAGED]);
    expect(raw()).toEqual(unchanged);
    expect(host.dbi('other')[key(1)]?.value).toBe('remote');
  });

  test('at the very first start is found while a snapshot is made, of which nothing is sent', async () => {
    swapAt(host.file, 'zones', key(250));
    const db = await host.start();
    await expect(db.encodeSnapshot(host.next())).rejects.toMatchObject({ retryable: true });
    const { object, detection } = await db.encodeSnapshot(host.next());
    expect(detection.refusedDbis).toEqual([DAMAGED]);
    expect(object?.kind).toBe('delta');
    expect(Object.keys(await readEncoded(object!.spool))).toEqual(['other']);
  });

  test('is refused when a later transaction brings it about: nothing of it is sent or put back', async () => {
    const db = await host.start();
    await host.sendAll(db);
    // A pending change of it is forgotten with it, and a write that loses is not put back.
    host.application.put('zones', key(5), { value: 'pending', ts: 20 });
    await db.detect();
    host.application.put('zones', key(20), { value: 'older', ts: 1 });
    swapAt(host.file, 'zones', key(21));
    const unchanged = raw();
    const detection = await db.detect();
    expect(detection).toMatchObject({ refusedDbis: [DAMAGED], pendingKeys: 0, regressions: 0 });
    host.application.put('other', 'new', { value: 'x', ts: 20 });
    expect(await host.sendDelta(db)).toEqual({ other: { new: 'x@20' } });
    expect(raw()).toEqual(unchanged);
  });

  test('is left out of merges, and the object is merged in full when it is in order again', async () => {
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', key(20), { value: 'new', ts: 20 });
    swapAt(host.file, 'zones', key(21));
    expect((await db.merge(remote())).changed).toBe(1);
    swapAt(host.file, 'zones', key(20));
    host.application.put('zones', key(200), { value: 'new', ts: 20 });
    const healed = await db.detect();
    expect(healed).toMatchObject({ refusedDbis: [], vectorForgotten: true, pendingScan: true });
    expect(await host.sendDelta(db)).toMatchObject({
      zones: { [key(20)]: 'new@20', [key(200)]: 'new@20' },
    });
    expect((await db.merge(remote())).changed).toBe(3);
    expect(host.zones()).toMatchObject({
      [key(10)]: { value: 'remote' },
      [key(11)]: { deleted: true },
      new: { value: 'remote' },
    });
  });

  test('that got in order while no agent ran makes the whole bucket be merged, and its changes be sent', async () => {
    const first = await host.start();
    await host.sendAll(first);
    host.application.put('zones', key(20), { value: 'new', ts: 20 });
    swapAt(host.file, 'zones', key(21));
    await first.merge(remote());
    // The marker of the other DBI goes on meanwhile.
    host.application.put('other', 'new', { value: 'x', ts: 20 });
    await host.sendDelta(first);
    await first.persist({ vector: VECTOR, entriesAtStop: true });
    await host.kill(first);
    const still = await host.opened();
    expect(still.result.refusedDbis).toEqual([DAMAGED]);
    expect(still.result).toMatchObject({ vector: VECTOR, vectorForgotten: false });
    await still.db.persist({ vector: VECTOR, entriesAtStop: true });
    await host.kill(still.db);
    swapAt(host.file, 'zones', key(20));
    const healed = await host.opened();
    expect(healed.result).toMatchObject({ refusedDbis: [], vectorForgotten: true });
    expect(healed.result.vector).toEqual(new Map());
    expect(await host.sendDelta(healed.db)).toMatchObject({ zones: { [key(20)]: 'new@20' } });
    expect((await healed.db.merge(remote())).changed).toBe(3);
    await host.kill(healed.db);
    const after = await host.opened();
    expect(after.result).toMatchObject({ vectorForgotten: false, vector: VECTOR });
  });

  test('that is in order again counts as not synced since it got out of order, also after a kill', async () => {
    const db = await host.start();
    await host.sendAll(db);
    await db.persist({ vector: VECTOR, lastSyncNs: 100n });
    host.application.put('zones', key(20), { value: 'new', ts: 20 });
    swapAt(host.file, 'zones', key(21));
    await db.detect();
    await db.persist({ vector: VECTOR, lastSyncNs: 900n });
    swapAt(host.file, 'zones', key(20));
    host.application.put('zones', key(200), { value: 'new', ts: 20 });
    expect(await db.detect()).toMatchObject({ vectorForgotten: true, leftOutSinceNs: 100n });
    // Whoever has not heard of it yet says when it synced without the DBI.
    await db.persist({ vector: VECTOR, emptied: 0, lastSyncNs: 950n });
    expect(await db.detect()).toMatchObject({ leftOutSinceNs: undefined });
    await host.kill(db);
    expect((await host.opened()).result).toMatchObject({ lastSyncNs: 100n, refusedDbis: [] });
  });

  test('an object on its way when it is in order again does not count for what it left out', async () => {
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', key(20), { value: 'new', ts: 20 });
    swapAt(host.file, 'zones', key(21));
    await db.detect();
    host.application.put('other', 'new', { value: 'x', ts: 20 });
    const { object } = await db.encodeDelta(host.next());
    swapAt(host.file, 'zones', key(20));
    host.application.put('zones', key(200), { value: 'later', ts: 20 });
    await db.detect();
    await db.acknowledge(object!.token);
    await db.persist({ vector: new Map() });
    await host.kill(db);
    const again = await host.start();
    expect(await host.sendDelta(again)).toMatchObject({
      zones: { [key(20)]: 'new@20', [key(200)]: 'later@20' },
    });
  });

  test('found inside the transaction of a merge ends it with nothing written', async () => {
    const db = await host.start();
    await host.sendAll(db);
    before('write', 1, () => {
      host.application.put('zones', key(20), { value: 'new', ts: 20 });
      swapAt(host.file, 'zones', key(21));
    });
    await expect(db.merge(remote())).rejects.toMatchObject({ retryable: true });
    jest.restoreAllMocks();
    expect(host.dbi('other')[key(1)]?.value).toBe('1');
    expect(raw()).not.toHaveProperty('new');
    expect((await db.merge(remote())).refusedDbis).toEqual(['zones']);
  });

  test('is walked neither by a sweep nor by a rejoin, which begins anew when it is in order again', async () => {
    host.application.put('zones', key(30), { deleted: true, ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    await db.beginRejoin();
    host.application.put('zones', key(20), { value: 'new', ts: 20 });
    swapAt(host.file, 'zones', key(21));
    const unchanged = raw();
    const sweep = { from: undefined, cutoffNs: 50n, rejoinBeforeNs: 0n, lockMs: 50 };
    // After the change the DBI is refused, its tombstone stays.
    expect((await db.sweep(sweep)).removed).toBe(0);
    const rejoin = { othersWrote: true, staleBeforeNs: 0n, nowNs: 100n };
    swapAt(host.file, 'zones', key(20));
    host.application.put('other', 'touch', { value: 'x', ts: 20 });
    host.application.put('zones', key(200), { value: 'x', ts: 20 });
    await expect(db.finishRejoin(rejoin)).rejects.toMatchObject({ retryable: true });
    expect(Object.keys(raw() ?? {}).length).toBe(Object.keys(unchanged ?? {}).length);
    expect((await db.detect()).vectorForgotten).toBe(true);
  });

  test('a dropped one is taken in again', async () => {
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', key(20), { value: 'new', ts: 20 });
    swapAt(host.file, 'zones', key(21));
    expect((await db.merge(remote())).refusedDbis).toEqual(['zones']);
    host.application.write((txn) => txn.drop('zones'));
    expect(await db.detect()).toMatchObject({ refusedDbis: [], vectorForgotten: true });
    expect((await db.merge(remote())).changed).toBe(3);
  });

  test('_sync_state itself: nothing is written any more, and it is named', async () => {
    const db = await host.start();
    await host.sendAll(db, new Map([[OWN_STREAM, 1n]]));
    await host.kill(db);
    swapAt(host.file, '_sync_state', 'uploaded');
    const again = await host.opened();
    expect(again.result.refusedDbis).toMatchObject([{ name: '_sync_state', cause: 'damage' }]);
    const unchanged = fs.readFileSync(host.file);
    await expect(again.db.merge(remote())).rejects.toMatchObject({
      code: 'ENVIRONMENT_UNREADABLE',
      retryable: true,
    });
    expect(fs.readFileSync(host.file).equals(unchanged)).toBe(true);
  });
});

describe('a DBI out of order, shadow mode', () => {
  let host: ShadowHost;
  beforeEach(() => {
    host = new ShadowHost();
    host.application.write((txn) => {
      for (let i = 0; i < 300; i += 1) {
        txn.put('zones', key(i), `${i}`);
      }
      txn.put('other', 'a', '1');
    });
  });
  afterEach(() => host.close());

  const REMOTE = {
    other: { entries: { remote: { value: 'x', ts: 2n ** 61n } } },
    zones: { entries: { [key(3)]: { deleted: true, ts: 2n ** 61n } } },
  };

  test.each([['zones'], ['_sync_shadow_zones']])(
    'be it in %s, is left alone on both sides, and synced when it is in order again',
    async (dbi) => {
      const first = await host.start();
      await host.encode(first, 'snapshot');
      await host.kill(first);
      swapAt(host.file, dbi, key(21));
      host.application.put('zones', key(22), 'new');
      const { db, result } = await host.opened();
      expect(result.refusedDbis).toEqual([DAMAGED]);
      const unchanged = host.dump();
      expect(await host.merge(db, REMOTE)).toMatchObject({ refusedDbis: ['zones'], changed: 1 });
      expect(host.dump()).toMatchObject({
        zones: unchanged['zones'],
        _sync_shadow_zones: unchanged['_sync_shadow_zones'],
        other: { a: '1', remote: 'x' },
      });
      expect(await host.sendDelta(db)).not.toHaveProperty('zones');
      swapAt(host.file, dbi, key(20));
      host.application.put('zones', key(200), 'newer');
      expect(await db.detect()).toMatchObject({ refusedDbis: [], vectorForgotten: true });
      expect(await host.sendDelta(db)).toMatchObject({
        zones: { [key(22)]: `new@${host.now}`, [key(200)]: `newer@${host.now}` },
      });
      expect((await host.merge(db, REMOTE)).changed).toBe(1);
      expect(host.dump()['zones']).not.toHaveProperty(key(3));
    },
  );

  test('that a later transaction brings about is refused with nothing stamped', async () => {
    const db = await host.start();
    await host.encode(db, 'snapshot');
    host.application.put('zones', key(20), 'new');
    swapAt(host.file, 'zones', key(21));
    const unchanged = host.dump();
    expect(await db.detect()).toMatchObject({ refusedDbis: [DAMAGED], pendingKeys: 0 });
    expect(host.dump()).toEqual(unchanged);
  });

  test('from the start on, gets no shadow DBI; the others do', async () => {
    setOtherOrder(host.file, 'zones', MDB_INTEGERKEY);
    const { db, result } = await host.opened();
    expect(result.refusedDbis).toEqual([{ ...DAMAGED, cause: 'own order' }]);
    expect(Object.keys(host.dump()).sort()).toEqual(['_sync_shadow_other', 'other', 'zones']);
    expect(await host.sendDelta(db)).toEqual({ other: { a: '1@1' } });
  });

  test('one of values that are out of order is refused, too', async () => {
    host.application.create('pairs', 4);
    host.application.write((txn) => {
      for (let i = 0; i < 20; i += 1) {
        txn.put('pairs', 'k', `value-${String(i).padStart(2, '0')}`);
      }
    });
    // Values from their ends: MDB_REVERSEDUP.
    setOtherOrder(host.file, 'pairs', 0x40);
    const { result } = await host.opened({ dupsortHack: true });
    expect(result.refusedDbis).toEqual([{ name: 'pairs', what: 'values', cause: 'own order' }]);
  });
});
