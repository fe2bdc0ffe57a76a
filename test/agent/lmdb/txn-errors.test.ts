import { mapTxnError } from '../../../agent/lmdb/txn-errors.ts';
import { Environment } from '../../../agent/lmdb/environment.ts';
import fs from 'node:fs';
import path from 'node:path';
import { databaseOptions, scratchFolder } from '../../support/lmdb.ts';

const BAD_TXN = new Error('MDB_BAD_TXN: Transaction must abort, has a child, or is invalid');

test.each([
  ['a full map', 'MDB_MAP_FULL: Environment mapsize limit reached', 'MAP_FULL'],
  ['a full disk', 'No space left on device', 'TRANSACTION_FAILED'],
  ['a damaged page', 'MDB_CORRUPTED: Located page was wrong type', 'TRANSACTION_FAILED'],
])('after %s the first error of the transaction is told, not the last', (_what, first, code) => {
  const error = mapTxnError(BAD_TXN, { path: 'x.mdb', firstFailure: first });
  expect(error).toMatchObject({ code, retryable: true });
});

test('a transaction that is bad for no known reason is not reported as a full map', () => {
  expect(mapTxnError(BAD_TXN, { path: 'x.mdb' })).toMatchObject({
    code: 'TRANSACTION_FAILED',
    message: expect.stringContaining('MDB_BAD_TXN'),
  });
});

test('a full map is told of as such, even where the work goes on after it', async () => {
  const folder = scratchFolder();
  const file = path.join(folder, 'test.mdb');
  const environment = Environment.open(databaseOptions(file, { mapSizeBytes: 1024 ** 2 }));
  const fill = () =>
    environment.write((txn) => {
      txn.createDbi('d', 0);
      for (let i = 0; i < 100; i += 1) {
        try {
          txn.put('d', Buffer.from(`k${i}`), Buffer.alloc(30_000));
        } catch {
          txn.remove('d', Buffer.from('k0'));
        }
      }
    });
  expect(fill).toThrow(`the map of ${file} is full`);
  await environment.close();
  fs.rmSync(folder, { recursive: true });
});
