import { dumpRaw, lastTxn, readEncoded } from '../../../support/lmdb.ts';
import { LmdbHost, OWN_STREAM, REMOTE_STREAM } from '../../../support/lmdb-host.ts';

let host: LmdbHost;

beforeEach(() => {
  host = new LmdbHost();
});

afterEach(() => host.close());

describe('local changes', () => {
  test('are found once, sent with their newest values, and not again', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', 'a', { value: '2', ts: 20 });
    host.application.put('zones', 'b', { value: '3', ts: 21 });
    expect(await db.detect()).toMatchObject({ pendingKeys: 2, newChanges: 2, maxTsNs: 21n });
    host.application.put('zones', 'b', { deleted: true, ts: 30 });
    expect(await host.sendDelta(db)).toEqual({ zones: { a: '2@20', b: 'x@30' } });
    expect(await db.detect()).toMatchObject({ pendingKeys: 0, newChanges: 0, pendingScan: false });
    expect(await db.encodeDelta(host.next())).toMatchObject({ object: undefined });
  });

  test('are all sent in one object after many transactions', async () => {
    const db = await host.start();
    host.application.put('zones', 'k', { value: 'x', ts: 5 });
    await host.sendAll(db);
    for (let i = 1; i <= 50; i += 1) {
      host.application.put('zones', `k${i % 7}`, { value: `${i}`, ts: 5 + i });
    }
    const sent = await host.sendDelta(db);
    expect(Object.keys(sent.zones ?? {})).toHaveLength(7);
    expect(sent.zones?.k1).toBe('50@55');
  });

  test('that no stored object holds are found by the scan of the next start', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const first = await host.start();
    await host.sendAll(first);
    host.application.put('zones', 'b', { value: '2', ts: 20 });
    await first.detect();
    await host.kill(first);
    host.application.put('zones', 'c', { value: '3', ts: 30 });
    host.application.put('zones', 'd', { value: '4', ts: 31, txn: 0 });
    const second = await host.start({ run: 'runb' });
    expect(await host.sendDelta(second)).toEqual({ zones: { b: '2@20', c: '3@30', d: '4@31' } });
  });

  test('are everything when there is no marker', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const { db, result } = await host.opened();
    // All of it: which keys that are is not looked at.
    expect(result).toMatchObject({ pendingScan: true, uploadedTxn: undefined, entries: 1 });
    const encoded = await host.sendAll(db);
    expect(await readEncoded(encoded.spool)).toEqual({ zones: { a: '1@10' } });
    expect(await db.detect()).toMatchObject({ pendingScan: false, pendingKeys: 0 });
  });

  test('are everything when the bucket is another one, also after a restart', async () => {
    const first = await host.start();
    await host.merge(first, 'a', { value: '1', ts: 10 });
    await first.persist({ vector: new Map(), bucketId: 'other', resetMarker: true });
    await host.merge(first, 'b', { value: '2', ts: 20 });
    await host.kill(first);
    const second = await host.start({ run: 'runb' });
    expect(await host.sendDelta(second)).toEqual({ zones: { a: '1@10' } });
  });

  test('of an empty LMDB are nothing, pending neither', async () => {
    const { db, result } = await host.opened();
    expect(result).toMatchObject({ pendingScan: false, pendingKeys: 0, hasData: false });
    await db.persist({ vector: new Map(), bucketId: 'bucket', resetMarker: true });
    expect(await db.detect()).toMatchObject({ pendingScan: false, pendingKeys: 0, hasData: false });
    expect(await db.encodeSnapshot(host.next())).toMatchObject({ object: undefined });
    expect(await db.encodeDelta(host.next())).toMatchObject({ object: undefined });
  });

  test('beyond the memory for keys are found by a scan', async () => {
    host.application.put('zones', 'old', { value: '0', ts: 1 });
    const db = await host.start({ pendingBytesMax: 2000 });
    await host.sendAll(db);
    host.application.write((txn) => {
      for (let i = 0; i < 200; i += 1) {
        txn.put('zones', `k${i}`, { value: `${i}`, ts: 10 });
      }
    });
    expect(await db.detect()).toMatchObject({ pendingScan: true, pendingKeys: 0 });
    const sent = await host.sendDelta(db);
    expect(Object.keys(sent.zones ?? {})).toHaveLength(200);
    expect(sent.zones?.old).toBeUndefined();
    expect(await db.detect()).toMatchObject({ pendingScan: false, pendingKeys: 0 });
  });

  test('without a valid header are counted and never sent, and those beside them are', async () => {
    host.application.put('zones', 'good', { value: '1', ts: 10 });
    host.application.put('zones', 'bad', { raw: Buffer.from('no header'), ts: 0 });
    const db = await host.start();
    const all = await host.sendAll(db);
    expect(await db.detect()).toMatchObject({ invalidValues: 1 });
    expect(await readEncoded(all.spool)).toEqual({ zones: { good: '1@10' } });
    host.application.put('zones', 'worse', { raw: Buffer.alloc(40, 0xff), ts: 0 });
    host.application.put('zones', 'good', { value: '2', ts: 20 });
    expect(await host.sendDelta(db)).toEqual({ zones: { good: '2@20' } });
    expect(await db.detect()).toMatchObject({ invalidValues: 2 });
    host.application.put('zones', 'bad', { value: 'mended', ts: 30 });
    host.application.remove('zones', 'worse');
    expect(await db.detect()).toMatchObject({ invalidValues: 0, pendingKeys: 1 });
  });

  test('in the future are counted', async () => {
    const db = await host.start();
    host.application.put('zones', 'a', { value: '1', ts: 2n ** 63n });
    expect(await db.detect()).toMatchObject({ futureEntries: 1 });
  });

  test('in private DBIs and in DBIs of duplicates are none', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    host.application.createDbi('multi', { dupSort: true });
    const db = await host.start();
    const { dataTxnId } = await host.sendAll(db);
    host.application.put('_sync_other', 'x', { value: '1', ts: 10 });
    host.application.put('multi', 'x', { value: '1', ts: 10 });
    expect(await db.detect()).toMatchObject({ pendingKeys: 0, regressions: 0, invalidValues: 0 });
    expect(dataTxnId).toBeLessThan(lastTxn(host.file));
    const all = await host.sendAll(db);
    expect(Object.keys(await readEncoded(all.spool))).toEqual(['zones']);
  });

  test('of our own bookkeeping do not count as changed data', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    const before = await db.detect();
    await db.persist({ vector: new Map([[REMOTE_STREAM, 5n]]) });
    const after = await db.detect();
    expect(after.txnId).toBeGreaterThan(before.txnId);
    expect(after.dataTxnId).toBe(before.dataTxnId);
  });

  test('may go before a full snapshot of the same read transaction, which adds nothing then', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', 'b', { value: '2', ts: 20 });
    const { object, news } = await db.encodeSnapshot({ seq: 2n, timeNs: 7n, newsFirst: true });
    host.application.put('zones', 'c', { value: '3', ts: 30 });
    expect(await readEncoded(news!.spool)).toEqual({ zones: { b: '2@20' } });
    expect(await readEncoded(object!.spool)).toEqual({ zones: { a: '1@10', b: '2@20' } });
    expect(object).toMatchObject({ kind: 'snapshot', addsNothing: true, txnId: news!.txnId });
    expect(object!.vector?.get(OWN_STREAM)).toBe(3n);
    await db.acknowledge(news!.token);
    await db.acknowledge(object!.token);
    expect(await host.sendDelta(db)).toEqual({ zones: { c: '3@30' } });
    // With nothing pending there is no delta, and the number is the full snapshot's.
    const again = await db.encodeSnapshot({ seq: 5n, timeNs: 9n, newsFirst: true });
    expect(again).toMatchObject({ news: undefined, object: { addsNothing: true } });
    expect(again.object!.vector?.get(OWN_STREAM)).toBe(5n);
  });

  test('in a full snapshot are no reason to mark it', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    expect(await host.sendAll(db)).toMatchObject({ addsNothing: false });
    host.application.put('zones', 'b', { value: '2', ts: 20 });
    expect(await host.sendAll(db)).toMatchObject({ addsNothing: false });
    await host.merge(db, 'c', { value: '3', ts: 30 });
    expect(await host.sendAll(db)).toMatchObject({ addsNothing: true });
  });

  test('are pending again when neither object was stored', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', 'b', { value: '2', ts: 20 });
    const { object, news } = await db.encodeSnapshot({ ...host.next(), newsFirst: true });
    await db.giveBack(news!.token);
    await db.giveBack(object!.token);
    expect(await host.sendDelta(db)).toEqual({ zones: { b: '2@20' } });
  });
});

describe('echoes', () => {
  test('what a merge wrote is not sent, by this run nor by the next one', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    const merged = await host.merge(db, 'b', { value: 'B', ts: 20 });
    expect(merged).toMatchObject({ changed: 1, transactions: 1 });
    expect(await db.detect()).toMatchObject({ pendingKeys: 0 });
    expect(await host.sendDelta(db)).toEqual({});
    await host.kill(db);
    const second = await host.start({ run: 'runb' });
    expect(await host.sendDelta(second)).toEqual({});
    host.application.put('zones', 'b', { value: 'local', ts: 30 });
    expect(await host.sendDelta(second)).toEqual({ zones: { b: 'local@30' } });
  });

  test('a pending change that a merge replaced is not sent', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', 'a', { value: '2', ts: 20 });
    await db.detect();
    await host.merge(db, 'a', { value: 'theirs', ts: 25 });
    expect(await host.sendDelta(db)).toEqual({});
    expect(host.zones().a).toMatchObject({ value: 'theirs', ts: 25n });
  });

  test('ids of merges are forgotten up to the stored object only', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    await host.merge(db, 'b', { value: 'B', ts: 20 });
    host.application.put('zones', 'a', { value: '2', ts: 21 });
    const { object: delta } = await db.encodeDelta(host.next());
    await host.merge(db, 'c', { value: 'C', ts: 22, seq: 2n });
    const last = lastTxn(host.file);
    await db.acknowledge(delta!.token);
    await db.persist({ vector: new Map([[REMOTE_STREAM, 2n]]) });
    const ids = Object.keys(dumpRaw(host.file)._sync_state ?? {}).filter((key) =>
      key.startsWith('merged/'),
    );
    expect(ids).toEqual([`merged/${last}`]);
  });
});

describe('local regressions', () => {
  test('a write of a clock that is behind is replaced by what it replaced, and sent', async () => {
    host.application.put('zones', 'a', { value: 'new', ts: 100 });
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', 'a', { value: 'old', ts: 50 });
    expect(await db.detect()).toMatchObject({ regressions: 1, pendingKeys: 1 });
    expect(host.zones().a).toMatchObject({ value: 'new', ts: 100n });
    expect(await host.sendDelta(db)).toEqual({ zones: { a: 'new@100' } });
    expect(await db.detect()).toMatchObject({ regressions: 0, pendingKeys: 0 });
  });

  test('a removed key comes back, a tombstone too', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 100 });
    host.application.put('zones', 'b', { deleted: true, ts: 100 });
    const db = await host.start();
    await host.sendAll(db);
    host.application.write((txn) => {
      txn.remove('zones', 'a');
      txn.remove('zones', 'b');
    });
    expect(await db.detect()).toMatchObject({ regressions: 2 });
    expect(host.zones()).toMatchObject({
      a: { value: '1', deleted: false },
      b: { deleted: true },
    });
  });

  test('a dropped DBI comes back, also one that the agent has written to', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 100 });
    const db = await host.start();
    await host.sendAll(db);
    await host.merge(db, 'b', { value: '2', ts: 100 });
    host.application.write((txn) => txn.drop('zones'));
    expect(await db.detect()).toMatchObject({ regressions: 2 });
    expect(host.zones()).toMatchObject({ a: { value: '1' }, b: { value: '2' } });
  });

  test('are put back when found by the diff inside a merge, and the merge goes on', async () => {
    host.application.put('zones', 'a', { value: 'new', ts: 100 });
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', 'a', { value: 'old', ts: 50 });
    const merged = await host.merge(db, 'a', { value: 'middle', ts: 70 });
    expect(merged).toMatchObject({ changed: 0, detection: { regressions: 1 } });
    expect(host.zones().a).toMatchObject({ value: 'new', ts: 100n });
    await host.merge(db, 'a', { value: 'newest', ts: 200 });
    expect(host.zones().a).toMatchObject({ value: 'newest', ts: 200n });
  });

  test('a write that loses against what was merged right before it is put back', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 100 });
    const db = await host.start();
    await host.sendAll(db);
    await host.merge(db, 'a', { value: 'merged', ts: 200 });
    host.application.put('zones', 'a', { value: 'between', ts: 150 });
    expect(await db.detect()).toMatchObject({ regressions: 1 });
    expect(host.zones().a).toMatchObject({ value: 'merged', ts: 200n });
    expect(await host.sendDelta(db)).toEqual({ zones: { a: 'merged@200' } });
  });

  test('more of them than fit into memory are put back in rounds', async () => {
    const big = 'x'.repeat(100_000);
    host.application.write((txn) => {
      for (let i = 0; i < 200; i += 1) {
        txn.put('zones', `k${i}`, { value: big + i, ts: 100 });
      }
    });
    const db = await host.start();
    await host.sendAll(db);
    host.application.write((txn) => {
      for (let i = 0; i < 200; i += 1) {
        txn.put('zones', `k${i}`, { value: 'old', ts: 50 });
      }
    });
    expect(await db.detect()).toMatchObject({ regressions: 200, pendingKeys: 200 });
    const zones = host.zones();
    expect(Object.values(zones).every((entry) => entry.ts === 100n)).toBe(true);
  });

  test('before a full snapshot are not in it', async () => {
    host.application.put('zones', 'a', { value: 'new', ts: 100 });
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', 'a', { value: 'old', ts: 50 });
    const all = await host.sendAll(db);
    expect(await readEncoded(all.spool)).toEqual({ zones: { a: 'new@100' } });
  });
});
