import fs from 'node:fs';
import path from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import type { LocalDatabase } from '../../../agent/lmdb/local-database.ts';
import { refuseUnnamedData } from '../../../agent/lmdb/unnamed-data.ts';
import { before } from '../../support/interpose.ts';
import { localDatabase, objectSpool } from '../../support/lmdb.ts';
import { LmdbHost, REMOTE_STREAM } from '../../support/lmdb-host.ts';

const VECTOR = new Map([[REMOTE_STREAM, 1n]]);

afterEach(() => jest.restoreAllMocks());

describe('entries in the main database', () => {
  let host: LmdbHost;
  let plain: RootDatabase<Buffer, Buffer>;
  beforeEach(() => {
    host = new LmdbHost();
    plain = open<Buffer, Buffer>({
      path: host.file,
      noSubdir: true,
      keyEncoding: 'binary',
      encoding: 'binary',
      overlappingSync: false,
      noSync: true,
      cache: false,
    } as never);
  });
  afterEach(async () => {
    await host.close();
    await plain.close();
  });

  const put = (text: string) => plain.putSync(Buffer.from(text), Buffer.from('mailbox'));

  function requireNothingMerged(db: LocalDatabase): Promise<void> {
    return expect(
      db.merge({
        name: 'object',
        spool: objectSpool({ zones: { entries: { r: { value: 'remote', ts: 90 } } } }),
        vector: VECTOR,
      }),
    ).rejects.toMatchObject({ code: 'ENVIRONMENT_UNREADABLE', retryable: true });
  }

  test('before the start make it fail with one line, and no byte of the file changes', async () => {
    put('user001@example.net');
    const before = fs.readFileSync(host.file);
    const db = localDatabase(host.file);
    await expect(db.open()).rejects.toMatchObject({
      code: 'ENVIRONMENT_UNREADABLE',
      retryable: false,
      message: `the main database of ${host.file} holds the application's own entries, the first is "user001@example.net": nothing may be written into it`,
    });
    expect(fs.readFileSync(host.file).equals(before)).toBe(true);
  });

  test('that appear later end all writing until they are gone; local changes are still sent', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    put('user001@example.net');
    host.application.put('zones', 'b', { value: '2', ts: 20 });
    const unchanged = fs.readFileSync(host.file);
    expect((await db.detect()).unnamedData).toContain('the first is "user001@example.net"');
    await requireNothingMerged(db);
    await expect(db.persist({ vector: VECTOR })).rejects.toMatchObject({ retryable: true });
    expect(await host.sendDelta(db)).toEqual({ zones: { b: '2@20' } });
    expect(fs.readFileSync(host.file).equals(unchanged)).toBe(true);
    plain.removeSync(Buffer.from('user001@example.net'));
    expect((await db.detect()).unnamedData).toBeUndefined();
    expect((await host.merge(db, 'r', { value: 'remote', ts: 90 })).changed).toBe(1);
  });

  test('that appear between the look and the lock end the transaction', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    before('write', 1, () => put('user001@example.net'));
    await requireNothingMerged(db);
    jest.restoreAllMocks();
    expect(host.zones()).not.toHaveProperty('r');
  });

  test('while they are there the pin moves on, so that the file does not grow because of us', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const db = await host.start();
    await host.sendAll(db);
    put('user001@example.net');
    for (let i = 0; i < 20; i += 1) {
      host.application.put('zones', 'a', { value: 'x'.repeat(100_000), ts: 20 + i });
      await db.detect();
    }
    expect(fs.statSync(host.file).size).toBeLessThan(2_000_000);
  });

  test('are found by a look at the file alone, before anything is opened or made beside it', () => {
    put('user001@example.net');
    const copy = path.join(host.folder, 'copy.mdb');
    fs.copyFileSync(host.file, copy);
    expect(() => refuseUnnamedData(copy)).toThrow(/the first is "user001@example\.net"/);
    expect(fs.readdirSync(host.folder).filter((name) => name.startsWith('copy'))).toEqual([
      'copy.mdb',
    ]);
  });

  test('beside DBIs of ours, which an earlier version has made, the hint says how to remove those', async () => {
    host.application.put('zones', 'a', { value: '1', ts: 10 });
    const first = await host.start();
    await host.sendAll(first);
    await host.kill(first);
    put('user001@example.net');
    expect(() => refuseUnnamedData(host.file)).toThrow(
      expect.objectContaining({ hint: expect.stringContaining('drop-shadow') as string }),
    );
    refuseUnnamedData(host.file, { mayRepair: true });
  });

  test('a main database that is made for entries of its own is refused while it is empty, too', () => {
    const file = path.join(host.folder, 'flags.mdb');
    const bytes = fs.readFileSync(host.file).subarray(0, 8192);
    for (const page of [0, 4096]) {
      // MDB_DUPSORT, in the record of the main database.
      bytes.writeUInt16LE(0x04, page + 16 + 24 + 48 + 4);
      bytes.fill(0xff, page + 16 + 24 + 48 + 40, page + 16 + 24 + 48 + 48);
    }
    fs.writeFileSync(file, bytes);
    expect(() => refuseUnnamedData(file)).toThrow(/MDB_DUPSORT or MDB_INTEGERKEY/);
  });

  test('a missing and an empty file are fine', async () => {
    refuseUnnamedData(path.join(host.folder, 'missing.mdb'));
    const fresh = localDatabase(path.join(host.folder, 'fresh.mdb'));
    await expect(fresh.open()).resolves.toMatchObject({ unnamedData: undefined });
    await fresh.close();
  });
});
