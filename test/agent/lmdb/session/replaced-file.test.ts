import fs from 'node:fs';
import path from 'node:path';
import { Environment } from '../../../../agent/lmdb/environment.ts';
import type { LocalDatabase } from '../../../../agent/lmdb/local-database.ts';
import { DataFile } from '../../../../agent/lmdb/pages/data-file.ts';
import { LmdbHost, OWN_STREAM } from '../../../support/lmdb-host.ts';
import { Application, databaseOptions, lastTxn } from '../../../support/lmdb.ts';

let host: LmdbHost;
let backup: string;

beforeEach(() => {
  host = new LmdbHost();
  backup = path.join(host.folder, 'backup.mdb');
});

afterEach(async () => {
  jest.restoreAllMocks();
  await host.close();
});

/** An agent that has sent `a` and `b`, with a backup of before `b`; nothing but the agent has the LMDB open. */
async function withBackup(): Promise<LocalDatabase> {
  host.application.put('zones', 'a', { value: 'in the backup', ts: 10 });
  const db = await host.start();
  await host.sendAll(db);
  fs.copyFileSync(host.file, backup);
  host.application.put('zones', 'b', { value: 'later', ts: 20 });
  await host.sendDelta(db);
  await db.persist({ vector: new Map() });
  await host.application.close();
  return db;
}

/** Puts a file in the place of the LMDB, as an operator does. */
const WAYS: readonly [how: string, replace: () => void][] = [
  ['mv', () => fs.renameSync(backup, host.file)],
  [
    'mv, with the old lock file removed',
    () => {
      fs.rmSync(`${host.file}-lock`, { force: true });
      fs.renameSync(backup, host.file);
    },
  ],
  [
    'rm and cp',
    () => {
      fs.rmSync(host.file);
      fs.copyFileSync(backup, host.file);
    },
  ],
  ['cp over it in place', () => fs.writeFileSync(host.file, fs.readFileSync(backup))],
];

describe.each(WAYS)('a backup that came by %s', (_how, replace) => {
  test('is noticed at the next look, and nothing is done until it is opened anew', async () => {
    const db = await withBackup();
    replace();
    await expect(db.detect()).rejects.toMatchObject({ code: 'ENVIRONMENT_REPLACED' });
    const before = lastTxn(host.file);
    await expect(host.merge(db, 'c', { value: 'theirs', ts: 5 })).rejects.toMatchObject({
      code: 'ENVIRONMENT_REPLACED',
    });
    await expect(db.persist({ vector: new Map() })).rejects.toMatchObject({
      code: 'ENVIRONMENT_REPLACED',
    });
    expect(lastTxn(host.file)).toBe(before);
  });

  test('is opened anew, and what its application commits from then on is found', async () => {
    const db = await withBackup();
    replace();
    await expect(db.detect()).rejects.toMatchObject({ code: 'ENVIRONMENT_REPLACED' });
    host.application = new Application(host.file);
    host.application.put('zones', 'early', { value: 'before the agent looks', ts: 30 });
    const opened = await db.reopen({ run: 'runc' });
    expect(opened).toMatchObject({ uploadedTxn: 1, hasData: true });
    host.application.put('zones', 'late', { value: 'after', ts: 40 });
    await db.detect();
    expect(Object.keys((await host.sendDelta(db)).zones ?? {})).toEqual(['early', 'late']);
    await host.merge(db, 'c', { value: 'theirs', ts: 5 });
    expect(Object.keys(host.zones())).toEqual(['a', 'c', 'early', 'late']);
  });
});

test('a file that is replaced while a transaction runs is not written, nor is the one that is gone', async () => {
  const db = await withBackup();
  await host.kill(db);
  const environment = Environment.open(databaseOptions(host.file));
  using old = DataFile.open(host.file);
  const before = old.readMeta().txnId;
  const inBackup = lastTxn(backup);
  const replaceWhileWriting = () =>
    environment.write((txn) => {
      txn.createDbi('new', 0);
      fs.renameSync(backup, host.file);
    });
  expect(replaceWhileWriting).toThrow(/was replaced by another one/);
  expect(old.readMeta().txnId).toBe(before);
  expect(lastTxn(host.file)).toBe(inBackup);
  await environment.close();
});

test('what is at the path for a moment, or only in part, is not opened', async () => {
  const db = await withBackup();
  const whole = fs.readFileSync(backup);
  fs.rmSync(host.file);
  await expect(db.detect()).rejects.toMatchObject({ code: 'ENVIRONMENT_REPLACED' });
  const reopening = () => db.reopen({ run: 'runc' });
  await expect(reopening()).rejects.toMatchObject({ message: /is missing or empty/ as never });
  fs.writeFileSync(host.file, '');
  await expect(reopening()).rejects.toMatchObject({ code: 'ENVIRONMENT_UNREADABLE' });
  expect(fs.statSync(host.file).size).toBe(0);
  fs.writeFileSync(host.file, whole.subarray(0, 3 * 4096));
  await expect(reopening()).rejects.toMatchObject({ code: 'ENVIRONMENT_UNREADABLE' });
  fs.writeFileSync(host.file, whole);
  expect(await reopening()).toMatchObject({ entries: 1 });
});

test('a full snapshot that is being encoded ends with the file, and the next run begins with nothing of it', async () => {
  host.application.write((txn) => {
    for (let i = 0; i < 20_000; i += 1) {
      txn.put('zones', `key-${i}`, { value: 'x'.repeat(50), ts: 1 });
    }
  });
  const db = await host.start();
  fs.copyFileSync(host.file, backup);
  await host.application.close();
  const encoding = db.encodeSnapshot(host.next()).then(
    ({ object }) => object?.entries,
    (error: unknown) => error,
  );
  await db.detect();
  fs.renameSync(backup, host.file);
  await expect(db.detect()).rejects.toMatchObject({ code: 'ENVIRONMENT_REPLACED' });
  await encoding;
  await db.reopen({ run: 'runc' });
  host.application = new Application(host.file);
  const { object } = await db.encodeSnapshot(host.next());
  expect(object?.entries).toBe(20_000);
});

test('a full snapshot that is asked for when the file is gone fails at once, in its turn', async () => {
  const db = await withBackup();
  fs.renameSync(backup, host.file);
  await expect(db.encodeSnapshot(host.next())).rejects.toMatchObject({
    code: 'ENVIRONMENT_REPLACED',
  });
  // One that waits for its turn behind the opening does not keep that from closing the old file.
  const [opened, encoded] = await Promise.all([
    db.reopen({ run: 'runc' }),
    db.encodeSnapshot(host.next()),
  ]);
  expect(opened).toMatchObject({ hasData: true });
  expect(encoded.object).toMatchObject({ entries: 1 });
  host.application = new Application(host.file);
});

test('a stream that another copy of this machine may go on with is forgotten for good', async () => {
  const db = await withBackup();
  await db.persist({ vector: new Map([[OWN_STREAM, 2n]]) });
  expect((await db.reopen({ run: 'runc', forgetStream: OWN_STREAM })).vector).toEqual(new Map());
  await host.kill(db);
  host.application = new Application(host.file);
  expect((await host.opened()).result.vector).toEqual(new Map());
});
