import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from 'lmdb';
import { Application } from '../../demo/application.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'application-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('values begin with the header of the format, whose transaction id is that of the write', () => {
  const file = join(folder, 'a.lmdb');
  const timestampNs = 1_700_000_000_000_000_000n;
  using application = Application.open(file);
  application.write([{ key: 'live', value: 'v' }], { timestampNs });
  application.write([{ key: 'gone', value: undefined }], { timestampNs });

  const raw = { keyEncoding: 'binary', encoding: 'binary' } as const;
  const reader = open({ path: file, noSubdir: true, overlappingSync: false, maxDbs: 8, ...raw });
  const dbi = reader.openDB({ name: 'records', ...raw });
  // Transaction 1 created the DBI. The bytes are those of docs/format.md's example.
  expect(dbi.getBinary(Buffer.from('live'))?.toString('hex')).toBe(
    '17979cfe362a00000000000000000002000000000000000076',
  );
  expect(dbi.getBinary(Buffer.from('gone'))?.toString('hex')).toBe(
    '17979cfe362a000000000000000000030001000000000000',
  );
  void reader.close();
});

test('a reader sees what was committed a moment ago, and tells a tombstone from a missing key', () => {
  using application = Application.open(join(folder, 'a.lmdb'));
  expect(application.read('key')).toBe(undefined);
  application.write([{ key: 'key', value: 'one' }]);
  expect(application.read('key')).toMatchObject({ value: 'one', deleted: false });
  application.write([{ key: 'key', value: undefined }]);
  expect(application.read('key')).toMatchObject({ value: '', deleted: true });
  expect(Array.from(application.entries(), ({ key }) => key)).toEqual(['key']);
});
