import fs from 'node:fs';
import path from 'node:path';
import { Environment } from '../../../../agent/lmdb/environment.ts';
import type { LocalDatabase, SweepPosition } from '../../../../agent/lmdb/local-database.ts';
import {
  Application,
  dumpEntries,
  localDatabase,
  objectSpool,
  readEncoded,
  scratchFolder,
} from '../../../support/lmdb.ts';

const folder = scratchFolder();
afterAll(() => fs.rmSync(folder, { recursive: true }));

let files = 0;

/** An application and the agent's side of its LMDB. */
function start(): { app: Application; db: LocalDatabase; file: string } {
  files += 1;
  const file = path.join(folder, `${files}.lmdb`);
  return { app: new Application(file), db: localDatabase(file), file };
}

async function sweep(db: LocalDatabase, cutoffNs: bigint) {
  let from: SweepPosition | undefined;
  const sum = { removed: 0, entries: 0, tombstones: 0 };
  do {
    const slice = await db.sweep({ from, cutoffNs, rejoinBeforeNs: 0n, lockMs: 50 });
    sum.removed += slice.removed;
    sum.entries += slice.entries;
    sum.tombstones += slice.tombstones;
    from = slice.next;
  } while (from !== undefined);
  return sum;
}

/** Stores what is pending, as far as this database knows. */
async function upload(db: LocalDatabase, seq: bigint) {
  const { object } = await db.encodeDelta({ seq, timeNs: seq });
  if (object === undefined) {
    return undefined;
  }
  await db.acknowledge(object.token);
  return readEncoded(object.spool);
}

/** Lets `work` run right before the call of this number from now on. */
function before(method: 'write' | 'beginRead', call: number, work: () => void): jest.SpyInstance {
  const original = Environment.prototype[method] as (...args: unknown[]) => unknown;
  let calls = 0;
  return jest.spyOn(Environment.prototype, method).mockImplementation(function interposed(
    this: Environment,
    ...args: unknown[]
  ) {
    calls += 1;
    if (calls === call) {
      work();
    }
    return original.apply(this, args) as never;
  });
}

const NOTHING = new Map();
const DELETED = { ts: 10, deleted: true };

describe('sweep', () => {
  test('removes tombstones that are old and uploaded, and nothing else', async () => {
    const { app, db, file } = start();
    app.write((txn) => {
      txn.put('d', 'old', DELETED);
      txn.put('d', 'young', { ts: 100, deleted: true });
      txn.put('d', 'live', { ts: 5, value: 'v' });
    });
    await db.open();
    await upload(db, 1n);
    expect(await sweep(db, 50n)).toEqual({ removed: 1, entries: 2, tombstones: 1 });
    expect(Object.keys(dumpEntries(file)['d'] ?? {})).toEqual(['live', 'young']);
    await db.close();
    await app.close();
  });

  test('what is not uploaded yet stays, also while its object is on the way', async () => {
    const { app, db } = start();
    app.put('d', 'k', DELETED);
    await db.open();
    expect((await sweep(db, 50n)).removed).toBe(0);
    const { object } = await db.encodeDelta({ seq: 1n, timeNs: 1n });
    expect((await sweep(db, 50n)).removed).toBe(0);
    await db.acknowledge(object?.token ?? 0);
    expect((await sweep(db, 50n)).removed).toBe(1);
    await db.close();
    await app.close();
  });

  test('what was merged goes; what a migration wrote with transaction 0 stays', async () => {
    const { app, db } = start();
    app.put('d', 'migrated', { ...DELETED, txn: 0 });
    await db.open();
    await upload(db, 1n);
    const spool = objectSpool({ d: { entries: { merged: DELETED } } });
    await db.merge({ name: 'x', spool, vector: NOTHING });
    expect(await sweep(db, 50n)).toEqual({ removed: 1, entries: 1, tombstones: 1 });
    await db.close();
    await app.close();
  });

  test('what it removes is no regression: it is not put back and not sent', async () => {
    const { app, db, file } = start();
    app.put('d', 'k', DELETED);
    app.put('d', 'other', { ts: 5, value: 'v' });
    await db.open();
    await upload(db, 1n);
    await sweep(db, 50n);
    // Somebody else commits before the next look, so that the diff is made in full.
    app.put('d', 'third', { ts: 60, value: 'w' });
    const detection = await db.detect();
    expect(detection).toMatchObject({ regressions: 0, pendingKeys: 1 });
    expect(await upload(db, 2n)).toEqual({ d: { third: 'w@60' } });
    expect(Object.keys(dumpEntries(file)['d'] ?? {})).toEqual(['other', 'third']);
    await db.close();
    await app.close();
  });

  test.each([
    ['writes the key again', { ts: 8, value: 'again' }, { k: 'again@8' }],
    ['writes another key', undefined, { other: 'x@70' }],
  ])('nor where the application %s right after its commit', async (_, entry, sent) => {
    const { app, db, file } = start();
    app.put('d', 'k', DELETED);
    await db.open();
    await upload(db, 1n);
    // A sweep begins with a look; the one behind its commit is the second.
    const spy = before('beginRead', 2, () => {
      if (entry === undefined) {
        app.put('d', 'other', { ts: 70, value: 'x' });
      } else {
        app.put('d', 'k', entry);
      }
    });
    expect((await sweep(db, 50n)).removed).toBe(1);
    spy.mockRestore();
    expect(await db.detect()).toMatchObject({ pendingKeys: 1 });
    expect(await upload(db, 2n)).toEqual({ d: sent });
    expect(Object.keys(dumpEntries(file)['d'] ?? {})).toEqual(Object.keys(sent));
    await db.close();
    await app.close();
  });

  test('what the application has changed since it was looked at stays', async () => {
    const { app, db, file } = start();
    app.put('d', 'k', DELETED);
    await db.open();
    await upload(db, 1n);
    const spy = before('write', 1, () => app.put('d', 'k', { ts: 60, value: 'newer' }));
    expect((await sweep(db, 50n)).removed).toBe(0);
    spy.mockRestore();
    expect(dumpEntries(file)['d']?.['k']).toMatchObject({ value: 'newer' });
    expect(await upload(db, 2n)).toEqual({ d: { k: 'newer@60' } });
    await db.close();
    await app.close();
  });

  test('a key that the application writes again after the sweep is a change like any other', async () => {
    const { app, db } = start();
    app.put('d', 'k', DELETED);
    await db.open();
    await upload(db, 1n);
    await sweep(db, 50n);
    app.put('d', 'k', { ts: 8, value: 'again' });
    expect(await db.detect()).toMatchObject({ regressions: 0, pendingKeys: 1 });
    expect(await upload(db, 2n)).toEqual({ d: { k: 'again@8' } });
    await db.close();
    await app.close();
  });

  test('goes on where a slice ended, however short the lock may be held', async () => {
    const { app, db, file } = start();
    app.write((txn) => {
      for (let at = 0; at < 3000; at += 1) {
        const key = String(at).padStart(5, '0');
        txn.put('d', key, at % 3 === 0 ? { ts: 5, value: 'v' } : DELETED);
      }
      txn.put('e', 'k', DELETED);
    });
    await db.open();
    await upload(db, 1n);
    let slices = 0;
    let from: SweepPosition | undefined;
    let removed = 0;
    let entries = 0;
    do {
      const slice = await db.sweep({ from, cutoffNs: 50n, rejoinBeforeNs: 0n, lockMs: 0 });
      from = slice.next;
      slices += 1;
      removed += slice.removed;
      entries += slice.entries;
    } while (from !== undefined);
    expect(slices).toBeGreaterThan(10);
    expect({ removed, entries }).toEqual({ removed: 2001, entries: 1000 });
    const left = dumpEntries(file);
    expect(Object.keys(left['d'] ?? {})).toHaveLength(1000);
    expect(left['e']).toEqual({});
    await db.close();
    await app.close();
  });
});

describe('rejoin', () => {
  const FINISH = { othersWrote: true, staleBeforeNs: 50n, nowNs: 999n };

  async function mergeOf(
    db: LocalDatabase,
    entries: Record<string, { ts: number; value: string }>,
  ) {
    const spool = objectSpool({ d: { entries } });
    await db.merge({ name: 'x', spool, vector: NOTHING });
  }

  test('drops what was uploaded or merged and is in no object; not what is, nor what is unsent', async () => {
    const { app, db, file } = start();
    app.put('d', 'uploaded', { ts: 10, value: 'u' });
    app.put('d', 'kept', { ts: 10, value: 'k' });
    await db.open();
    await upload(db, 1n);
    await mergeOf(db, { merged: { ts: 11, value: 'm' } });
    app.put('d', 'unsent', { ts: 100, value: 'n' });
    await db.beginRejoin();
    // An entry that loses here is in the bucket all the same.
    await mergeOf(db, { kept: { ts: 3, value: 'older' } });
    expect(await db.finishRejoin(FINISH)).toMatchObject({ dropped: 2, stamped: 0 });
    expect(Object.keys(dumpEntries(file)['d'] ?? {})).toEqual(['kept', 'unsent']);
    const detection = await db.detect();
    expect(detection).toMatchObject({ regressions: 0, pendingKeys: 1 });
    await db.close();
    await app.close();
  });

  test('what is stored while it goes on is not among what was read, and stays', async () => {
    const { app, db, file } = start();
    app.put('d', 'k', { ts: 100, value: 'v' });
    await db.open();
    const { object } = await db.encodeDelta({ seq: 1n, timeNs: 1n });
    await db.beginRejoin();
    await db.acknowledge(object?.token ?? 0);
    await mergeOf(db, { merged: { ts: 101, value: 'm' } });
    expect(await db.finishRejoin(FINISH)).toMatchObject({ dropped: 0, stamped: 0 });
    expect(Object.keys(dumpEntries(file)['d'] ?? {})).toEqual(['k', 'merged']);
    await db.close();
    await app.close();
  });

  test('drops nothing when nobody else has written since', async () => {
    const { app, db } = start();
    app.put('d', 'uploaded', { ts: 10, value: 'u' });
    await db.open();
    await upload(db, 1n);
    await db.beginRejoin();
    const result = await db.finishRejoin({ ...FINISH, othersWrote: false });
    expect(result).toMatchObject({ dropped: 0, stamped: 0 });
    await db.close();
    await app.close();
  });

  test('an unsent change too old to be ordered gets the time of the rejoin, and is sent after a merge, too', async () => {
    const { app, db, file } = start();
    app.put('d', 'first', { ts: 90, value: 'f' });
    await db.open();
    await upload(db, 1n);
    await mergeOf(db, { first: { ts: 95, value: 'g' } });
    app.put('d', 'old', { ts: 10, value: 'o' });
    app.put('d', 'young', { ts: 80, value: 'y' });
    await db.beginRejoin();
    await mergeOf(db, { first: { ts: 95, value: 'g' }, second: { ts: 94, value: 's' } });
    expect(await db.finishRejoin(FINISH)).toMatchObject({ dropped: 0, stamped: 1 });
    expect(dumpEntries(file)['d']?.['old']).toMatchObject({ ts: 999n, value: 'o' });
    // Its transaction must not pass for one of the merges around it.
    await mergeOf(db, { later: { ts: 96, value: 'l' } });
    expect(await upload(db, 2n)).toEqual({ d: { old: 'o@999', young: 'y@80' } });
    await db.close();
    await app.close();
    const again = localDatabase(file);
    const opened = await again.open();
    expect(opened.vectorForgotten).toBe(false);
    await again.close();
  });
});
