import fs from 'node:fs';
import { collectPages, diffPages, isDbiOrdered } from '../../../../agent/lmdb/pages/diff.ts';
import { PageCursor } from '../../../../agent/lmdb/pages/cursor.ts';
import { DataFile, listDbis } from '../../../../agent/lmdb/pages/data-file.ts';
import { describeDisorder } from '../../../../agent/lmdb/pages/disorder.ts';
import { MDB_INTEGERKEY, MDB_REVERSEKEY } from '../../../../agent/lmdb/pages/layout.ts';
import { setOtherOrder, swapAt, swapPair } from '../../../support/lmdb-writer/disorder.ts';
import { openTestLmdb, type TestLmdb } from '../../../support/lmdb-writer/env.ts';
import { DBI_KINDS, ModelWriter } from '../../../support/lmdb-writer/model.ts';
import { Random } from '../../../support/lmdb-writer/random.ts';

const seed = Number(process.env['ORDER_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const kinds = DBI_KINDS.map((kind, at) => [JSON.stringify(kind), at] as const);

/** What each way of looking at a DBI says of its order. */
function look(lmdb: TestLmdb, dbiName: string): { walk: boolean; all: boolean; why: unknown } {
  using file = DataFile.open(lmdb.path);
  const meta = file.readMeta();
  const db = listDbis(file, meta).get(dbiName)!;
  const cursor = new PageCursor(file, db, { checksOrder: true });
  while (cursor.next()) {
    // To the end.
  }
  const disordered: string[] = [];
  collectPages(file, meta, { onDisorder: (name) => disordered.push(name) });
  expect(disordered).toEqual(cursor.isOrdered ? [] : [dbiName]);
  return {
    walk: cursor.isOrdered,
    all: isDbiOrdered(file, db),
    why: describeDisorder(file, db),
  };
}

describe('random DBIs', () => {
  test.each(kinds)('%s: in order they pass, and one swapped pair is found', async (_text, at) => {
    for (const pageSize of [512, 4096]) {
      const lmdb = openTestLmdb({ pageSize });
      const random = new Random(seed + at);
      const writer = new ModelWriter(lmdb.env, random, {
        maxEntries: 300,
        pageSize,
        kinds: [DBI_KINDS[at]!],
      });
      for (let round = 0; round < 30; round += 1) {
        for (let step = 0; step < 4; step += 1) {
          writer.step();
        }
        for (const name of writer.dbis.keys()) {
          const state = { seed, round, name };
          expect({ ...state, ...look(lmdb, name) }).toEqual({
            ...state,
            walk: true,
            all: true,
            why: undefined,
          });
          for (const values of [false, true]) {
            const swapBack = swapPair(lmdb.path, name, {
              values,
              pick: (count) => random.next(Math.max(1, count)),
            });
            if (swapBack !== undefined) {
              const found = look(lmdb, name);
              expect({ ...state, walk: found.walk, all: found.all }).toEqual({
                ...state,
                walk: false,
                all: false,
              });
              expect(found.why).toBeDefined();
              swapBack();
            }
          }
        }
      }
      await lmdb.close();
    }
  });
});

describe('a DBI of many pages', () => {
  let lmdb: TestLmdb;
  beforeEach(() => {
    lmdb = openTestLmdb();
  });
  afterEach(() => lmdb.close());

  const key = (i: number) => `key-${String(i).padStart(5, '0')}`;

  function fill(count: number) {
    const db = lmdb.env.openDB<Buffer, Buffer>({
      name: 'd',
      keyEncoding: 'binary',
      encoding: 'binary',
    } as never);
    lmdb.env.transactionSync(() => {
      for (let i = 0; i < count; i += 1) {
        db.putSync(Buffer.from(key(i)), Buffer.alloc(40, i));
      }
    });
    return db;
  }

  /** What a diff over `work` says; the page set must follow in any case. */
  function disorderOf(work: () => void): string[] {
    const pin = lmdb.pin();
    using file = DataFile.open(lmdb.path);
    const from = file.readMeta();
    const pages = collectPages(file, from);
    work();
    const nextPin = lmdb.pin();
    const to = file.readMeta();
    const found: string[] = [];
    let reported = 0;
    diffPages(file, from, to, pages, {
      onDisorder: (dbis) => found.push(...dbis.keys()),
      accepts: (name) => !found.includes(name),
      onDbi: () => {},
      onChange: () => {
        reported += 1;
      },
    });
    expect(pages.equals(collectPages(file, to))).toBe(true);
    expect(reported > 0).toBe(found.length === 0);
    pin.done();
    nextPin.done();
    return found;
  }

  test('a swapped pair on a page that changed is found by the diff, which then reports none of its entries', () => {
    const db = fill(5000);
    expect(disorderOf(() => db.putSync(Buffer.from(key(77)), Buffer.from('new')))).toEqual([]);
    const found = disorderOf(() => {
      db.putSync(Buffer.from(key(77)), Buffer.from('newer'));
      swapAt(lmdb.path, 'd', key(78));
    });
    expect(found).toEqual(['d']);
  });

  test('a key that belongs on another page than the one that changed is found without reading that one', () => {
    const db = fill(5000);
    const found = disorderOf(() => {
      db.putSync(Buffer.from(key(2500)), Buffer.from('new'));
      // The first key of the changed page: those on this page still ascend.
      overwrite(lmdb.path, placeOf(lmdb.path, key(2500)).first, 'aaa');
    });
    expect(found).toEqual(['d']);
  });

  test('a separator that LMDB would follow to the wrong page is found by a walk, though all keys ascend', () => {
    fill(5000);
    using file = DataFile.open(lmdb.path);
    const db = listDbis(file, file.readMeta()).get('d')!;
    const root = Buffer.alloc(file.pageSize);
    file.readPage(db.root, root);
    const node = root.readUInt16LE(16 + 2 * 3);
    overwrite(lmdb.path, db.root * file.pageSize + node + 8, 'kez');
    expect(look(lmdb, 'd')).toEqual({
      walk: false,
      all: false,
      why: { what: 'keys', cause: 'damage' },
    });
  });

  test('two equal keys are out of order', () => {
    fill(200);
    overwrite(lmdb.path, placeOf(lmdb.path, key(100)).key, key(101));
    expect(look(lmdb, 'd').walk).toBe(false);
  });

  test.each([
    ['one place among many entries is damage', 2000, 'damage'],
    ['one place among few entries is damage', 20, 'damage'],
  ])('%s', (_text, count, cause) => {
    fill(count);
    swapAt(lmdb.path, 'd', key(10));
    expect(look(lmdb, 'd').why).toEqual({ what: 'keys', cause });
  });

  test.each([
    ['integers', MDB_INTEGERKEY],
    ['reversed bytes', MDB_REVERSEKEY],
  ])('keys that are out of order everywhere, as %s, have an order of their own', (_text, flags) => {
    fill(2000);
    setOtherOrder(lmdb.path, 'd', flags);
    expect(look(lmdb, 'd').why).toEqual({ what: 'keys', cause: 'own order' });
  });

  test('an order by length, which has few places out of order, is an order of its own', () => {
    // Each byte that counts is at the end: as reversed keys these ascend, as bytes only where the length grows.
    const db = lmdb.env.openDB<Buffer, Buffer>({
      name: 'd',
      keyEncoding: 'binary',
      encoding: 'binary',
      reverseKey: true,
    } as never);
    lmdb.env.transactionSync(() => {
      for (let length = 1; length < 12; length += 1) {
        for (let i = 0; i < 100; i += 1) {
          db.putSync(Buffer.from([...Buffer.alloc(length, 0x30), i, length]), Buffer.alloc(20));
        }
      }
    });
    setOtherOrder(lmdb.path, 'd', MDB_REVERSEKEY);
    expect(look(lmdb, 'd').why).toEqual({ what: 'keys', cause: 'own order' });
  });
});

function overwrite(path: string, at: number, text: string): void {
  const fd = fs.openSync(path, 'r+');
  fs.writeSync(fd, Buffer.from(text), 0, text.length, at);
  fs.closeSync(fd);
}

/** Where a key stands in the file, and where the first key of its page does. */
function placeOf(path: string, text: string): { key: number; first: number } {
  using file = DataFile.open(path);
  const cursor = new PageCursor(file, listDbis(file, file.readMeta()).get('d')!);
  cursor.seek(Buffer.from(text), 0, text.length);
  const page = cursor.keyBuffer.readUInt32LE(0) * file.pageSize;
  return { key: page + cursor.keyStart, first: page + cursor.keyBuffer.readUInt16LE(16) + 8 };
}
