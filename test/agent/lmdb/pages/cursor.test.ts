import { keyOrderOf } from '../../../../protocol/key-order.ts';
import { PageCursor } from '../../../../agent/lmdb/pages/cursor.ts';
import { DataFile, listDbis } from '../../../../agent/lmdb/pages/data-file.ts';
import { openTestLmdb } from '../../../support/lmdb-writer/env.ts';
import { DBI_KINDS, ModelWriter } from '../../../support/lmdb-writer/model.ts';
import { Random } from '../../../support/lmdb-writer/random.ts';
import type { DbiKind } from '../../../support/lmdb-writer/model.ts';

const seed = Number(process.env['PAGE_CURSOR_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

type Entry = { key: Buffer; value: Buffer };

function current(cursor: PageCursor): Entry {
  return {
    key: Buffer.from(cursor.keyBuffer.subarray(cursor.keyStart, cursor.keyEnd)),
    value: Buffer.from(cursor.valueBuffer.subarray(cursor.valueStart, cursor.valueEnd)),
  };
}

function randomKey(kind: DbiKind, keys: readonly Buffer[], random: Random): Buffer {
  const key = Buffer.from(keys.length > 0 ? random.pick(keys) : Buffer.alloc(kind.keyBytes || 3));
  if (random.chance(50) && key.length > 0) {
    key[random.next(key.length)]! ^= 1 << random.next(8);
  }
  return kind.keyBytes > 0 || random.chance(70) ? key : Buffer.concat([key, random.bytes(2)]);
}

describe.each(DBI_KINDS.map((kind, index) => ({ index, kind })))(
  'a DBI of kind $index ($kind.options)',
  ({ index, kind }) => {
    const lmdb = openTestLmdb();
    const random = new Random(seed + index);
    const writer = new ModelWriter(lmdb.env, random, { maxEntries: 1e9, pageSize: 4096 });
    const dbi = writer.createDbi('dbi', kind);
    writer.fill(dbi, 1500);
    const file = DataFile.open(lmdb.path);
    const db = listDbis(file, file.readMeta()).get('dbi')!;
    const compareKeys = keyOrderOf(db.flags);
    const keys = [...dbi.data.keys()].map((text) => Buffer.from(text, 'latin1'));
    keys.sort((a, b) => compareKeys(a, 0, a.length, b, 0, b.length));

    afterAll(async () => {
      file.close();
      await lmdb.close();
    });

    function requireAt(cursor: PageCursor, at: number, what: string): void {
      const { key, value } = current(cursor);
      const isRight =
        keys[at]!.equals(key) &&
        dbi.data.get(key.toString('latin1'))!.has(value.toString('latin1'));
      if (!isRight) {
        throw new Error(`PAGE_CURSOR_SEED=${seed}: ${what} stands on ${key.toString('hex')}`);
      }
    }

    test('walking shows every entry once, in order', () => {
      const cursor = new PageCursor(file, db);
      let at = 0;
      let values = 0;
      while (cursor.next()) {
        if (values === dbi.data.get(keys[at]!.toString('latin1'))!.size) {
          at += 1;
          values = 0;
        }
        requireAt(cursor, at, 'next');
        values += 1;
      }
      expect(at).toBe(keys.length - 1);
      expect(cursor.next()).toBe(false);
      expect(cursor.first()).toBe(true);
      requireAt(cursor, 0, 'first');
    });

    test('seeking anywhere, with steps in between, finds what a sorted array has', () => {
      const cursor = new PageCursor(file, db);
      for (let round = 0; round < 400; round += 1) {
        const target = randomKey(kind, keys, random);
        const at = keys.findIndex(
          (key) => compareKeys(key, 0, key.length, target, 0, target.length) >= 0,
        );
        expect(cursor.seek(target, 0, target.length)).toBe(at >= 0);
        if (at >= 0) {
          requireAt(cursor, at, 'seek');
        }
        const steps = kind.isDup || at < 0 ? 0 : random.next(4);
        for (let step = 1; step <= steps; step += 1) {
          expect(cursor.next()).toBe(at + step < keys.length);
          if (at + step < keys.length) {
            requireAt(cursor, at + step, 'next after seek');
          }
        }
      }
    });

    test('seeking forward through sorted targets, hits and misses, finds what a sorted array has', () => {
      const targets = Array.from({ length: 2000 }, () => randomKey(kind, keys, random));
      targets.sort((a, b) => compareKeys(a, 0, a.length, b, 0, b.length));
      const cursor = new PageCursor(file, db);
      let at = 0;
      const wrong: string[] = [];
      for (const target of targets) {
        while (
          at < keys.length &&
          compareKeys(keys[at]!, 0, keys[at]!.length, target, 0, target.length) < 0
        ) {
          at += 1;
        }
        if (cursor.seek(target, 0, target.length) !== at < keys.length) {
          wrong.push(target.toString('hex'));
        }
        if (at < keys.length) {
          requireAt(cursor, at, 'seek forward');
        }
      }
      expect({ seed, wrong }).toEqual({ seed, wrong: [] });
    });
  },
);

test('seeking forward in small steps reads each page once, in whatever gaps the targets fall', async () => {
  const lmdb = openTestLmdb();
  const db = lmdb.env.openDB<Buffer, Buffer>({
    name: 'dbi',
    keyEncoding: 'binary',
    encoding: 'binary',
  });
  const key = Buffer.alloc(4);
  lmdb.env.transactionSync(() => {
    for (let i = 0; i < 20_000; i += 10) {
      key.writeUInt32BE(i);
      db.putSync(Buffer.from(key), Buffer.alloc(40));
    }
  });
  using file = DataFile.open(lmdb.path);
  const record = listDbis(file, file.readMeta()).get('dbi')!;
  const cursor = new PageCursor(file, record);
  const before = file.pagesRead;
  // `expect` costs more than all that is tested here.
  const wrong: number[] = [];
  for (let i = 0; i < 40_000; i += 1) {
    key.writeUInt32BE(i);
    if (cursor.seek(key, 0, 4) !== i <= 19_990) {
      wrong.push(i);
    }
  }
  expect(wrong).toEqual([]);
  expect(file.pagesRead - before).toBeLessThanOrEqual(record.leafPages + record.branchPages);
  await lmdb.close();
});

test('an empty DBI has no entry to move to', async () => {
  const lmdb = openTestLmdb();
  lmdb.env.openDB({ name: 'empty', keyEncoding: 'binary' });
  using file = DataFile.open(lmdb.path);
  const cursor = new PageCursor(file, listDbis(file, file.readMeta()).get('empty')!);
  expect(cursor.first()).toBe(false);
  expect(cursor.next()).toBe(false);
  expect(cursor.seek(Buffer.from('a'), 0, 1)).toBe(false);
  await lmdb.close();
});

test('in the main database the records of DBIs are told from plain entries', async () => {
  const lmdb = openTestLmdb();
  lmdb.env.openDB({ name: 'dbi', keyEncoding: 'binary' });
  lmdb.env.putSync(Buffer.from('plain'), Buffer.from('value'));
  using file = DataFile.open(lmdb.path);
  const cursor = new PageCursor(file, file.readMeta().mainDb);
  const seen: [string, boolean][] = [];
  while (cursor.next()) {
    seen.push([current(cursor).key.toString(), cursor.isSubData]);
  }
  expect(seen).toEqual([
    ['dbi', true],
    ['plain', false],
  ]);
  await lmdb.close();
});
