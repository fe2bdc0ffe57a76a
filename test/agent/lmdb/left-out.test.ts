import fs from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import type { LocalDatabase, MergeResult } from '../../../agent/lmdb/local-database.ts';
import { MessageBuilder } from '../../../protocol/protobuf.ts';
import type { Spool } from '../../../agent/spool.ts';
import {
  dumpEntries,
  localDatabase,
  objectSpool,
  scratchFolder,
  type ObjectContent,
} from '../../support/lmdb.ts';
import { LmdbHost, REMOTE_STREAM } from '../../support/lmdb-host.ts';
import { dumpText, ShadowHost } from '../../support/shadow.ts';

const LONG_KEY = 'L'.repeat(600);
const LARGE = 'v'.repeat(5000);
/** A bound that a test can reach. */
const BOUND = { valueBytesMax: 4096 };
const VECTOR = new Map([[REMOTE_STREAM, 1n]]);

function mergeInto(db: LocalDatabase, content: ObjectContent): Promise<MergeResult> {
  return db.merge({ name: 'object', spool: objectSpool(content), vector: VECTOR });
}

describe('native schema', () => {
  let host: LmdbHost;
  beforeEach(() => {
    host = new LmdbHost();
  });
  afterEach(() => host.close());

  /** What can be sent, and two entries that cannot. */
  function putAll(): void {
    host.application.write((txn) => {
      txn.put('zones', 'a', { value: '1', ts: 10 });
      txn.put('zones', LONG_KEY, { value: 'long', ts: 10 });
      txn.put('zones', 'large', { value: LARGE, ts: 10 });
    });
  }

  test('a key or a value that is too large is left out of a full snapshot, and named', async () => {
    putAll();
    const db = await host.start(BOUND);
    const { object, detection } = await db.encodeSnapshot(host.next());
    expect(object?.entries).toBe(1);
    expect(detection.leftOut).toBeUndefined();
    expect((await db.detect()).leftOut).toEqual({
      entries: 2,
      first: `DBI zones, key "${'L'.repeat(32)}…" of 600 bytes, value of 28 bytes`,
    });
  });

  test('it is left out of deltas, and what comes after it is sent', async () => {
    host.application.put('zones', 'first', { value: '1', ts: 1 });
    const db = await host.start(BOUND);
    await host.sendAll(db);
    putAll();
    expect((await db.detect()).leftOut?.entries).toBe(2);
    expect(await host.sendDelta(db)).toEqual({ zones: { a: '1@10' } });
    host.application.put('zones', 'b', { value: '2', ts: 20 });
    expect(await host.sendDelta(db)).toEqual({ zones: { b: '2@20' } });
    expect((await db.encodeSnapshot(host.next())).object?.entries).toBe(3);
  });

  test('it is named again after a restart, and no longer once it is gone or fits', async () => {
    putAll();
    const first = await host.start(BOUND);
    await host.sendAll(first);
    await host.kill(first);
    const { db, result } = await host.opened(BOUND);
    expect(result.leftOut?.entries).toBe(2);
    host.application.put('zones', 'large', { value: 'small', ts: 20 });
    expect((await db.detect()).leftOut?.entries).toBe(1);
    // Removed without a tombstone, it is not put back: nobody else ever had it.
    host.application.remove('zones', LONG_KEY);
    expect(await db.detect()).toMatchObject({ leftOut: undefined, regressions: 0 });
    expect(await host.sendDelta(db)).toEqual({ zones: { large: 'small@20' } });
    expect(host.zones()).not.toHaveProperty(LONG_KEY);
  });

  test('a value that became too large is sent no more; what others have of it stays with them', async () => {
    const db = await host.start(BOUND);
    host.application.put('zones', 'large', { value: 'small', ts: 5 });
    await db.detect();
    host.application.put('zones', 'large', { value: LARGE, ts: 10 });
    expect(await host.sendDelta(db)).toEqual({});
    await mergeInto(db, { zones: { entries: { large: { value: 'theirs', ts: 99 } } } });
    expect(host.zones()['large']?.value).toBe(LARGE);
  });

  test('a rejoin does not drop it, though it is in no object, and a sweep passes over it', async () => {
    host.application.write((txn) => {
      txn.put('zones', LONG_KEY, { value: 'long', ts: 1 });
      txn.put('zones', `${LONG_KEY}x`, { deleted: true, ts: 1 });
      txn.put('zones', 'swept', { value: 'elsewhere', ts: 1 });
    });
    const db = await host.start(BOUND);
    await host.sendAll(db);
    await db.beginRejoin();
    const ended = await db.finishRejoin({ othersWrote: true, staleBeforeNs: 0n, nowNs: 50n });
    expect(ended).toMatchObject({ dropped: 1, stamped: 0 });
    const options = { from: undefined, cutoffNs: 50n, rejoinBeforeNs: 0n, lockMs: 50 };
    expect(await db.sweep(options)).toMatchObject({ removed: 0, next: undefined });
    expect(Object.keys(host.zones())).toEqual([LONG_KEY, `${LONG_KEY}x`]);
  });

  test('of an object the others are merged, and the vector moves', async () => {
    const db = await host.start(BOUND);
    const merged = await mergeInto(db, {
      zones: {
        entries: {
          [LONG_KEY]: { value: 'long', ts: 10 },
          a: { value: '1', ts: 10 },
          large: { value: LARGE, ts: 10 },
        },
      },
    });
    expect(merged).toMatchObject({ entries: 1, changed: 1, leftOut: { entries: 2 } });
    expect(merged.leftOut?.first).toMatch(/^DBI zones, key "L+…" of 600 bytes/);
    expect(Object.keys(host.zones())).toEqual(['a']);
    await host.kill(db);
    const { result } = await host.opened(BOUND);
    expect(result.vector).toEqual(VECTOR);
  });
});

// No application beside it: in one process both would have the limit of who came first.
describe('more DBIs than max_dbs', () => {
  const folder = scratchFolder();
  const open = new Set<LocalDatabase>();
  let files = 0;
  afterEach(async () => {
    await Promise.all([...open].map((db) => db.close()));
    open.clear();
  });
  afterAll(() => fs.rmSync(folder, { recursive: true }));

  async function start(file: string, maxDbs: number): Promise<LocalDatabase> {
    const db = localDatabase(file, { maxDbs });
    open.add(db);
    await db.open();
    return db;
  }

  function newFile(): string {
    files += 1;
    return path.join(folder, `${files}.mdb`);
  }

  test('make an object be refused whole; it is merged after a restart with a larger limit', async () => {
    const file = newFile();
    const content = Object.fromEntries(names('dbi', 70));
    const db = await start(file, 64);
    const refused = mergeInto(db, content);
    await expect(refused).rejects.toMatchObject({ code: 'SNAPSHOT_DBIS_EXCEED', retryable: false });
    await expect(refused).rejects.toThrow('max_dbs = 64');
    expect(dumpEntries(file)).toEqual({});
    // What fits goes on.
    expect(await mergeInto(db, Object.fromEntries(names('few', 3)))).toMatchObject({ changed: 3 });
    await db.close();
    open.delete(db);
    expect(await mergeInto(await start(file, 80), content)).toMatchObject({ changed: 70 });
  });

  test('counts those that are open already; the refused object is not tried for ever', async () => {
    const file = newFile();
    const db = await start(file, 8);
    await mergeInto(db, Object.fromEntries(names('a', 5)));
    await expect(mergeInto(db, Object.fromEntries(names('b', 6)))).rejects.toMatchObject({
      code: 'SNAPSHOT_DBIS_EXCEED',
    });
    expect(dumpEntries(file)).not.toHaveProperty('b0');
    expect(await mergeInto(db, Object.fromEntries(names('a', 6)))).toMatchObject({ changed: 1 });
  });

  test.each([
    ['missing', 'd'],
    ['private', '_sync_'],
  ])('of very many %s ones only a few names are kept', async (_what, prefix) => {
    const db = await start(newFile(), 64);
    const spool = emptyDbis(prefix, 200_000);
    const merged = db.merge({ name: 'object', spool, vector: VECTOR });
    if (prefix === 'd') {
      const error = await merged.catch((thrown: Error & { code: string }) => thrown);
      expect(error).toMatchObject({ code: 'SNAPSHOT_DBIS_EXCEED' });
      // No transaction was tried with them.
      expect((error as Error).cause).toBeUndefined();
    } else {
      expect((await merged).skippedDbis).toHaveLength(100);
    }
  });
});

function names(prefix: string, count: number): [string, ObjectContent[string]][] {
  const entries = { key: { value: 'v', ts: 1 } };
  return Array.from({ length: count }, (_, at) => [`${prefix}${at}`, { entries }]);
}

/** An object with nothing but names of DBIs. */
function emptyDbis(prefix: string, count: number): Spool {
  const dbis = Array.from({ length: count }, (_, at) => {
    const dbi = new MessageBuilder().text(1, `${prefix}${at}`).build();
    return new MessageBuilder().message(3, dbi).build();
  });
  const head = new MessageBuilder().varint(1, 3n).varint(4, 1n).build();
  return { kind: 'memory', bytes: gzipSync(Buffer.concat([head, ...dbis])) };
}

describe('shadow mode', () => {
  let host: ShadowHost;
  beforeEach(() => {
    host = new ShadowHost();
  });
  afterEach(() => host.close());

  function putAll(): void {
    host.application.write((txn) => {
      txn.put('zones', 'a', '1');
      txn.put('zones', LONG_KEY, 'long');
      txn.put('zones', 'large', LARGE);
    });
  }

  test.each(['before the start', 'later'])(
    'what is too large and comes %s is left out and named, and the others go on',
    async (when) => {
      host.application.create('zones', 0);
      if (when === 'before the start') {
        putAll();
      }
      const db = await host.start(BOUND);
      if (when === 'later') {
        putAll();
      }
      const { leftOut } = await db.detect();
      expect(leftOut?.entries).toBe(2);
      expect(leftOut?.first).toMatch(/^DBI zones, key "/);
      expect(Object.keys((await host.sendDelta(db))['zones'] ?? {})).toEqual(['a']);
      host.application.put('zones', 'b', '2');
      expect(Object.keys((await host.sendDelta(db))['zones'] ?? {})).toEqual(['b']);
      const { object } = await db.encodeSnapshot({ seq: 9n, timeNs: 9n });
      expect(object?.entries).toBe(2);
      expect((await db.detect()).leftOut?.entries).toBe(2);
    },
  );

  test('it is named no longer once it is gone or fits', async () => {
    putAll();
    const db = await host.start(BOUND);
    host.application.put('zones', 'large', 'small');
    host.application.remove('zones', LONG_KEY);
    expect((await db.detect()).leftOut).toBeUndefined();
    const sent = await host.sendDelta(db);
    expect(Object.keys(sent['zones'] ?? {})).toEqual(['a', 'large']);
  });

  test('the entry of another instance does not replace it', async () => {
    host.application.put('zones', 'large', LARGE);
    const db = await host.start(BOUND);
    const theirs = { large: { value: 'theirs', ts: Number(host.now) + 1 } };
    await mergeInto(db, { zones: { entries: { ...theirs, [LONG_KEY]: { value: 'x', ts: 5 } } } });
    const { zones, _sync_shadow_zones: registers } = dumpText(host.file);
    expect(zones).toEqual({ large: LARGE });
    expect(Object.keys(registers ?? {})).toEqual(['large']);
  });
});
