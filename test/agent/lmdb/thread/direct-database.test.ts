import fs from 'node:fs';
import type { LocalDatabase } from '../../../../agent/lmdb/local-database.ts';
import { objectSpool, readEncoded, readEncodedSink } from '../../../support/lmdb.ts';
import { LmdbHost, OWN_STREAM, REMOTE_STREAM } from '../../../support/lmdb-host.ts';

let host: LmdbHost;

beforeEach(() => {
  host = new LmdbHost();
});

afterEach(() => host.close());

describe('start', () => {
  test('with a change below what was known forgets the vector at once', async () => {
    host.application.put('zones', 'a', { value: 'new', ts: 100 });
    const first = await host.start();
    await host.sendAll(first, new Map([[REMOTE_STREAM, 7n]]));
    await host.kill(first);
    host.application.put('zones', 'a', { value: 'old', ts: 50 });
    const second = await host.opened({ run: 'runb' });
    expect(second.result).toMatchObject({
      vectorForgotten: true,
      vector: new Map(),
      pendingKeys: 1,
    });
    await host.kill(second.db);
    // Persisted: the next start does not need to find it again.
    const third = await host.opened({ run: 'runc' });
    expect(third.result.vector).toEqual(new Map());
  });

  test('with fewer entries than at stop forgets the vector', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    host.application.put('zones', 'b', { value: '2', ts: 11 });
    const first = await host.start();
    await host.sendAll(first, new Map([[REMOTE_STREAM, 7n]]));
    await first.persist({ vector: new Map([[REMOTE_STREAM, 7n]]), entriesAtStop: true });
    await host.kill(first);
    host.application.remove('zones', 'b');
    const { result } = await host.opened();
    expect(result).toMatchObject({ vectorForgotten: true, vector: new Map() });
  });

  test('with new entries only keeps the vector', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const first = await host.start();
    await host.sendAll(first, new Map([[REMOTE_STREAM, 7n]]));
    await first.persist({ vector: new Map([[REMOTE_STREAM, 7n]]), entriesAtStop: true });
    await host.kill(first);
    host.application.put('zones', 'b', { value: '2', ts: 20 });
    const { result } = await host.opened();
    expect(result).toMatchObject({
      vectorForgotten: false,
      vector: new Map([[REMOTE_STREAM, 7n]]),
      pendingKeys: 1,
    });
  });

  test('with one entry removed and others added forgets the vector', async () => {
    host.application.write((txn) => {
      for (const key of ['a', 'b', 'c']) {
        txn.put('zones', key, { value: key, ts: 10 });
      }
    });
    const first = await host.start();
    await host.sendAll(first, new Map([[REMOTE_STREAM, 7n]]));
    await first.persist({ vector: new Map([[REMOTE_STREAM, 7n]]), entriesAtStop: true });
    await host.kill(first);
    host.application.write((txn) => {
      txn.remove('zones', 'a');
      for (const key of ['d', 'e', 'f']) {
        txn.put('zones', key, { value: key, ts: 20 });
      }
    });
    const { result } = await host.opened();
    expect(result).toMatchObject({ vectorForgotten: true, vector: new Map() });
  });

  test('on a restored backup sends what came after it, and has the vector of that time', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const first = await host.start();
    await host.sendAll(first, new Map([[REMOTE_STREAM, 7n]]));
    await host.kill(first);
    const backup = fs.readFileSync(host.file);
    const again = await host.start();
    await host.merge(again, 'b', { value: '2', ts: 20, seq: 8n });
    await host.kill(again);
    await host.replaceFile(() => fs.writeFileSync(host.file, backup));
    host.application.put('zones', 'c', { value: '3', ts: 30 });
    const { result } = await host.opened({ run: 'runb' });
    expect(result).toMatchObject({ vector: new Map([[REMOTE_STREAM, 7n]]), pendingKeys: 1 });
  });

  test('on a compacted copy, whose transactions count from 1 again, sends everything', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const first = await host.start();
    for (let i = 0; i < 10; i += 1) {
      host.application.put('zones', 'a', { value: `${i}`, ts: 11 + i });
    }
    await host.sendAll(first, new Map([[REMOTE_STREAM, 7n]]));
    await host.merge(first, 'b', { value: 'B', ts: 40, seq: 8n });
    await host.kill(first);
    const copy = `${host.file}.copy`;
    await host.application.copyCompact(copy);
    await host.replaceFile(() => fs.renameSync(copy, host.file));
    expect(host.application.put('zones', 'c', { value: '3', ts: 50 })).toBeLessThan(5);
    const { db, result } = await host.opened({ run: 'runb' });
    expect(result).toMatchObject({
      uploadedTxn: undefined,
      pendingKeys: 3,
      // Which of them are changes since the copy nobody can tell, so none of them may stand for what was merged.
      vector: new Map(),
    });
    const all = await host.sendAll(db);
    expect(await readEncoded(all.spool)).toEqual({ zones: { a: '9@20', b: 'B@40', c: '3@50' } });
    for (let i = 0; i < 30; i += 1) {
      host.application.put('zones', 'c', { value: `${i}`, ts: 60 + i });
      expect(await host.sendDelta(db)).toEqual({ zones: { c: `${i}@${60 + i}` } });
    }
  });

  test('removes what a killed run left in the lock table', async () => {
    const db = await host.start();
    const { readers } = await db.stats();
    expect(readers).toBe(1);
  });
});

describe('full snapshots', () => {
  test('say in their Meta what they cover', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.merge(db, 'b', { value: '2', ts: 20, seq: 9n });
    const { object: encoded } = await db.encodeSnapshot({ seq: 4n, timeNs: 1234n });
    const { meta } = await readEncodedSink(encoded!.spool);
    expect(meta).toMatchObject({
      instance: 'a',
      hostname: 'host-a',
      databaseName: 'main',
      run: 'runa',
      seq: 4n,
      timestampNs: 1234n,
      vector: new Map([
        [REMOTE_STREAM, 9n],
        [OWN_STREAM, 4n],
      ]),
    });
    expect(encoded!.vector).toEqual(meta?.vector);
    expect(meta?.lmdbTxnId).toBe(BigInt(encoded!.txnId));
  });

  test('take away what was pending; what comes while they are encoded stays pending', async () => {
    host.application.write((txn) => {
      for (let i = 0; i < 60_000; i += 1) {
        txn.put('zones', `key-${i}`, { value: `value ${i}`, ts: 10 });
      }
    });
    const db = await host.start();
    const encoding = db.encodeSnapshot(host.next());
    await db.detect();
    host.application.put('zones', 'key-1', { value: 'later', ts: 20 });
    expect(await db.detect()).toMatchObject({ pendingKeys: 1 });
    await host.merge(db, 'key-2', { value: 'merged', ts: 30 });
    const { object: encoded } = await encoding;
    const content = await readEncoded(encoded!.spool);
    expect(Object.keys(content.zones ?? {})).toHaveLength(60_000);
    expect(content.zones?.['key-1']).toBe('value 1@10');
    expect(content.zones?.['key-2']).toBe('value 2@10');
    await db.acknowledge(encoded!.token);
    expect(await host.sendDelta(db)).toEqual({ zones: { 'key-1': 'later@20' } });
  });

  test('go to a file where they are large, and hold empty DBIs and large values', async () => {
    const large = 'y'.repeat(100_000);
    host.application.createDbi('empty');
    host.application.put('zones', 'a', { value: large, ts: 10 });
    const db = await host.start({ spoolMemoryBytes: 10 });
    const { object: encoded } = await db.encodeSnapshot(host.next());
    expect(encoded!.spool.kind).toBe('file');
    expect(await readEncoded(encoded!.spool)).toEqual({ empty: {}, zones: { a: `${large}@10` } });
  });
});

describe('a request from before the vector was emptied', () => {
  async function emptied(): Promise<LocalDatabase> {
    host.application.put('zones', 'a', { value: 'new', ts: 100 });
    const first = await host.start();
    await host.sendAll(first, new Map([[REMOTE_STREAM, 7n]]));
    await host.kill(first);
    host.application.put('zones', 'a', { value: 'old', ts: 50 });
    const { db, result } = await host.opened({ run: 'runb' });
    expect(result.vectorForgotten).toBe(true);
    return db;
  }

  test('does not bring its positions back', async () => {
    const db = await emptied();
    const vector = new Map([[REMOTE_STREAM, 8n]]);
    await db.persist({ vector, emptied: 0, lastSyncNs: 5n });
    await host.kill(db);
    const { result } = await host.opened({ run: 'runc' });
    expect(result).toMatchObject({ vector: new Map(), lastSyncNs: 5n });
  });

  test('is not merged; one that knows of it is', async () => {
    const db = await emptied();
    const request = {
      name: 'object',
      spool: objectSpool({ zones: { entries: { b: { value: 'merged', ts: 200 } } } }),
      vector: new Map([[REMOTE_STREAM, 8n]]),
    };
    expect(await db.merge({ ...request, emptied: 0 })).toMatchObject({ isStale: true, entries: 0 });
    expect(host.zones()).not.toHaveProperty('b');
    expect(await db.merge({ ...request, emptied: 1 })).toMatchObject({ changed: 1 });
    await host.sendAll(db);
    await host.kill(db);
    expect((await host.opened({ run: 'runc' })).result.vector).toEqual(request.vector);
  });
});
