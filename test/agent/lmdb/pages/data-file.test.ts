import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { DataFile, listDbis } from '../../../../agent/lmdb/pages/data-file.ts';
import { SyncError } from '../../../../protocol/errors.ts';
import { openTestLmdb } from '../../../support/lmdb-writer/env.ts';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'page-test-'));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

function fileOf(bytes: Buffer): string {
  const file = path.join(folder, 'data.mdb');
  fs.writeFileSync(file, bytes);
  return file;
}

function errorOf(work: () => unknown): SyncError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(SyncError);
    return error as SyncError;
  }
  throw new Error('nothing was thrown');
}

async function smallLmdb(): Promise<Buffer> {
  const lmdb = openTestLmdb();
  lmdb.env.openDB({ name: 'dbi', keyEncoding: 'binary', encoding: 'binary' });
  const bytes = fs.readFileSync(lmdb.path);
  await lmdb.close();
  return bytes;
}

test('the meta page tells transaction, sizes and the roots of the two core databases', async () => {
  const lmdb = openTestLmdb({ mapSize: 64 * 1024 * 1024 });
  using file = DataFile.open(lmdb.path);
  const first = file.readMeta();
  const db = lmdb.env.openDB({ name: 'dbi', keyEncoding: 'binary', encoding: 'binary' });
  db.putSync(Buffer.from('k'), Buffer.from('v'));
  const meta = file.readMeta();
  expect(meta.txnId).toBe(first.txnId + 2);
  expect(meta).toMatchObject({ version: 1, mapSizeBytes: 64 * 1024 * 1024, pageSize: 4096 });
  expect(meta.mainDb).toMatchObject({ entries: 1, depth: 1, leafPages: 1 });
  expect(meta.lastPage * 4096).toBeLessThan(file.sizeBytes());
  expect([...listDbis(file, meta)].map(([name, dbi]) => [name, dbi.entries])).toEqual([['dbi', 1]]);
  await lmdb.close();
});

test.each([512, 16_384])(
  'pages of %i bytes are found by what the meta page says',
  async (pageSize) => {
    const lmdb = openTestLmdb({ pageSize });
    lmdb.env.openDB({ name: 'dbi', keyEncoding: 'binary' });
    using file = DataFile.open(lmdb.path);
    expect(file.pageSize).toBe(pageSize);
    expect([...listDbis(file, file.readMeta()).keys()]).toEqual(['dbi']);
    await lmdb.close();
  },
);

test('the newer data format is named: npm lmdb as it is published writes it', () => {
  const bytes = Buffer.alloc(8192);
  // LMDB 1.0: a page header of 24 bytes, then magic and version.
  bytes.writeUInt32LE(0xbeefc0de, 24);
  bytes.writeUInt32LE(2, 28);
  const error = errorOf(() => DataFile.open(fileOf(bytes)));
  expect(error.code).toBe('ENVIRONMENT_UNREADABLE');
  expect(error.message).toMatch(/LMDB data format 2, not 1: a program with a newer LMDB wrote it/);
  expect(error.retryable).toBe(false);
});

test.each([
  ['an unknown version', (bytes: Buffer) => bytes.writeUInt32LE(999, 20), /data format 999/],
  ['another magic number', (bytes: Buffer) => bytes.writeUInt32LE(1, 16), /not an LMDB data file/],
  ['a second meta page that is none', (bytes: Buffer) => bytes.fill(0, 4096, 8192), /not an LMDB/],
  [
    'a page size that cannot be',
    (bytes: Buffer) => bytes.writeUInt32LE(4095, 40),
    /page size 4095/,
  ],
])('%s is refused', async (_name, damage, message) => {
  const bytes = await smallLmdb();
  damage(bytes);
  const error = errorOf(() => DataFile.open(fileOf(bytes)));
  expect(error.code).toBe('ENVIRONMENT_UNREADABLE');
  expect(error.message).toMatch(message);
});

test.each([0, 100, 5000])('a file of %i bytes is refused and may be tried again', (size) => {
  const bytes = Buffer.alloc(size);
  const error = errorOf(() => DataFile.open(fileOf(bytes)));
  expect(error.code).toBe('ENVIRONMENT_UNREADABLE');
  expect(error.retryable || size >= 152).toBe(true);
});

test('no file and a folder are told as such', () => {
  expect(errorOf(() => DataFile.open(path.join(folder, 'none'))).message).toMatch(/ENOENT/);
  expect(errorOf(() => DataFile.open(folder)).message).toMatch(/EISDIR/);
});

test('a meta page that changes under the reader is read again until two reads agree', async () => {
  const bytes = await smallLmdb();
  const file = DataFile.open(fileOf(bytes));
  const newest = file.readMeta();
  const at = 4096 * (newest.txnId % 2);
  const readSync = fs.readSync.bind(fs);
  let reads = 0;
  const spy = jest.spyOn(fs, 'readSync');
  spy.mockImplementation((fd, buffer, ...rest: unknown[]) => {
    reads += 1;
    const count = readSync(fd, buffer, ...(rest as [number, number, number]));
    if (reads <= 3) {
      // A torn state, another one each time: new transaction id, fields of the old transaction.
      (buffer as Buffer).writeUInt32LE(1000 + reads, at + 144);
    }
    return count;
  });
  const meta = file.readMeta();
  spy.mockRestore();
  file.close();
  expect(meta).toEqual(newest);
  expect(reads).toBe(5);
});
