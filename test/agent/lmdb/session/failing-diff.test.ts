import fs from 'node:fs';
import path from 'node:path';
import { SyncError } from '../../../../protocol/errors.ts';
import { DataFile, type Meta } from '../../../../agent/lmdb/pages/data-file.ts';
import { Basis } from '../../../../agent/lmdb/session/basis.ts';
import { LmdbHost } from '../../../support/lmdb-host.ts';
import { Application } from '../../../support/lmdb.ts';
import { ShadowHost } from '../../../support/shadow.ts';

const DUPSORT = 4;
const COMMITS = 40;

afterEach(() => {
  jest.restoreAllMocks();
});

function lastPage(file: string): number {
  using data = DataFile.open(file);
  return data.readMeta().lastPage;
}

function failDiffs(times: number): void {
  const { advance: original } = Basis.prototype as { advance: (this: Basis, to: Meta) => void };
  let left = times;
  jest.spyOn(Basis.prototype, 'advance').mockImplementation(function failing(this: Basis, to) {
    left -= 1;
    if (left >= 0) {
      throw new SyncError('ENVIRONMENT_UNREADABLE', 'cannot compare two states of the LMDB');
    }
    original.call(this, to);
  });
}

describe('a page diff that fails', () => {
  let host: LmdbHost;

  beforeEach(() => {
    host = new LmdbHost();
  });

  afterEach(() => host.close());

  test.each([
    ['once is made again', 1, undefined],
    ['twice is replaced by a scan at once', 2, 'cannot compare two states of the LMDB'],
  ])('%s: nothing is missed', async (_what, times, rescan) => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', 'b', { value: '2', ts: 20 });
    failDiffs(times);
    expect(await db.detect()).toMatchObject({ newChanges: 1, pendingKeys: 1, rescan });
    host.application.put('zones', 'c', { value: '3', ts: 30 });
    expect(await db.detect()).toMatchObject({ newChanges: 1, pendingKeys: 2, rescan: undefined });
    expect(Object.keys((await host.sendDelta(db)).zones ?? {})).toEqual(['b', 'c']);
  });

  test('every time keeps no page from being used again', async () => {
    const value = 'x'.repeat(100_000);
    host.application.put('zones', 'big', { value, ts: 1 });
    const db = await host.start();
    await host.sendAll(db);
    failDiffs(Number.POSITIVE_INFINITY);
    for (let i = 0; i < COMMITS; i += 1) {
      host.application.put('zones', 'big', { value, ts: 10 + i });
      await db.detect();
    }
    // Three versions of the value at a time are normal: the newest, the pinned, the one being written.
    expect(lastPage(host.file)).toBeLessThan(6 * 25);
  });

  test('and whose scan fails, too, is followed by another scan, from where the changes began', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    host.application.put('zones', 'b', { value: '2', ts: 20 });
    failDiffs(2);
    jest.spyOn(Basis.prototype, 'scanSince').mockImplementationOnce(() => {
      throw new SyncError('ENVIRONMENT_UNREADABLE', 'damaged LMDB file');
    });
    await expect(db.detect()).rejects.toMatchObject({ code: 'ENVIRONMENT_UNREADABLE' });
    host.application.put('zones', 'c', { value: '3', ts: 30 });
    expect(await db.detect()).toMatchObject({ newChanges: 2, pendingKeys: 2 });
  });

  test('to open the LMDB anew is repeated at the next look', async () => {
    const db = await host.start();
    await host.sendAll(db).catch(() => undefined);
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    await db.detect();
    await host.application.close();
    // As after a write that found the lock table out of step.
    commitWithoutLocks(host, { key: 'b' });
    await expect(host.merge(db, 'c', { value: 'theirs', ts: 5 })).rejects.toMatchObject({
      code: 'TRANSACTION_FAILED',
    });
    const opening = jest.spyOn(DataFile, 'open').mockImplementation(() => {
      throw new SyncError('ENVIRONMENT_UNREADABLE', 'EMFILE: too many open files', {
        retryable: true,
      });
    });
    await expect(db.detect()).rejects.toMatchObject({ message: expect.stringMatching('EMFILE') });
    await expect(db.detect()).rejects.toMatchObject({ message: expect.stringMatching('EMFILE') });
    opening.mockRestore();
    expect(await db.detect()).toMatchObject({ pendingKeys: 2 });
    expect(await host.merge(db, 'c', { value: 'theirs', ts: 5 })).toMatchObject({ changed: 1 });
    host.application = new Application(host.file);
  });
});

/** Commits as a program with MDB_NOLOCK does: neither the lock table nor anybody's read transactions count. */
function commitWithoutLocks(host: LmdbHost, { key, times = 1 }: { key: string; times?: number }) {
  const copy = path.join(host.folder, `nolock-${key}.mdb`);
  fs.copyFileSync(host.file, copy);
  const application = new Application(copy);
  for (let i = 0; i < times; i += 1) {
    application.put('zones', key, { value: `${i}`.repeat(500), ts: 100 + i });
  }
  void application.close();
  fs.writeFileSync(host.file, fs.readFileSync(copy), { flag: 'r+' });
}

describe('a program that writes without locks', () => {
  let host: LmdbHost;

  beforeEach(() => {
    host = new LmdbHost();
  });

  afterEach(() => host.close());

  test('does not stop the sending: everything is read instead, and the cause is named', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    await db.detect();
    await host.application.close();
    const reasons: (string | undefined)[] = [];
    for (let round = 0; round < 5; round += 1) {
      const key = `key-${round}`;
      commitWithoutLocks(host, { key, times: 6 });
      reasons.push((await db.detect()).rescan);
      expect(Object.keys((await host.sendDelta(db)).zones ?? {})).toContain(key);
    }
    expect(reasons).toContainEqual(expect.stringContaining('MDB_NOLOCK'));
    host.application = new Application(host.file);
  });

  test('is never written over: a transaction of ours would begin from an older state', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    await host.application.close();
    commitWithoutLocks(host, { key: 'b', times: 3 });
    await expect(host.merge(db, 'c', { value: 'theirs', ts: 5 })).rejects.toMatchObject({
      code: 'TRANSACTION_FAILED',
      message: expect.stringContaining('MDB_NOLOCK'),
    });
    expect(Object.keys(host.zones())).toEqual(['a', 'b']);
    // Opened anew, with nobody else there, the lock table is right again.
    expect(await host.merge(db, 'c', { value: 'theirs', ts: 5 })).toMatchObject({ changed: 1 });
    expect(Object.keys(host.zones())).toEqual(['a', 'b', 'c']);
    host.application = new Application(host.file);
  });
});

describe('a DBI that only another configuration can sync', () => {
  let host: ShadowHost;

  beforeEach(() => {
    host = new ShadowHost();
  });

  afterEach(() => host.close());

  test('ends the work with a clear error, pins nothing meanwhile, and its end heals it', async () => {
    host.application.put('zones', 'a', '1');
    const db = await host.start();
    await host.encode(db, 'snapshot');
    host.application.create('pairs', DUPSORT);
    const value = 'x'.repeat(100_000);
    for (let i = 0; i < COMMITS; i += 1) {
      host.application.put('zones', 'big', value);
      await expect(db.detect()).rejects.toMatchObject({ code: 'CONFIG_INVALID', retryable: false });
    }
    expect(lastPage(host.file)).toBeLessThan(6 * 25);
    host.application.write((txn) => txn.drop('pairs'));
    host.application.put('zones', 'b', '2');
    await db.detect();
    expect(Object.keys((await host.sendDelta(db)).zones ?? {})).toEqual(['b', 'big']);
    expect(
      await host.merge(db, { zones: { entries: { c: { value: '3', ts: 5 } } } }),
    ).toMatchObject({ changed: 1 });
  });
});
