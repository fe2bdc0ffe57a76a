import fs from 'node:fs';

import type { Database } from 'lmdb';

import { collectPages, diffPages } from '../../../../agent/lmdb/pages/diff.ts';
import { MDB_REVERSEKEY } from '../../../../agent/lmdb/pages/layout.ts';
import { PageSet } from '../../../../agent/lmdb/pages/set.ts';
import { DataFile } from '../../../../agent/lmdb/pages/data-file.ts';
import type { DbRecord } from '../../../../agent/lmdb/pages/data-file.ts';
import { diffLines, disorderLine } from '../../../support/lmdb-writer/diff.ts';
import { openTestLmdb } from '../../../support/lmdb-writer/env.ts';
import type { TestLmdb } from '../../../support/lmdb-writer/env.ts';

let lmdb: TestLmdb;
beforeEach(() => {
  lmdb = openTestLmdb();
});
afterEach(async () => {
  await lmdb.close();
});

function openDbi(name: string, options: Record<string, unknown> = {}): Database<Buffer, Buffer> {
  return lmdb.env.openDB({
    name,
    keyEncoding: 'binary',
    encoding: 'binary',
    cache: false,
    ...options,
  } as never);
}

/** A key that begins a little differently each time, so that changes are spread over the tree. */
function key(i: number): Buffer {
  return Buffer.from(`${(i * 7919) % 10_000}`.padStart(6, '0'));
}

function fill(db: Database<Buffer, Buffer>, count: number, valueBytes = 60): void {
  lmdb.env.transactionSync(() => {
    for (let i = 0; i < count; i += 1) {
      db.putSync(key(i), Buffer.alloc(valueBytes, i));
    }
  });
}

/** What `work` changed, as "dbi|key|old|new". */
function changesOf(work: () => void): { lines: string[]; pagesRead: number; pageCount: number } {
  const pin = lmdb.pin();
  using file = DataFile.open(lmdb.path);
  const from = file.readMeta();
  const pages = collectPages(file, from);
  work();
  const nextPin = lmdb.pin();
  const to = file.readMeta();
  const before = file.pagesRead;
  const lines = diffLines(file, from, to, pages);
  const pagesRead = file.pagesRead - before;
  expect(pages.equals(collectPages(file, to))).toBe(true);
  pin.done();
  nextPin.done();
  return { lines, pagesRead, pageCount: pages.size };
}

test('one change in a tree of many pages is found by reading a few of them', () => {
  const db = openDbi('dbi');
  fill(db, 10_000);
  const { lines, pagesRead, pageCount } = changesOf(() => db.putSync(key(77), Buffer.from('new')));
  expect(lines).toEqual([
    `dbi|${key(77).toString()}|=${Buffer.alloc(60, 77).toString('latin1')}|=new`,
  ]);
  expect(pageCount).toBeGreaterThan(200);
  expect(pagesRead).toBeLessThanOrEqual(16);
});

test('entries that only moved to another leaf are no change, nor is a value written again', () => {
  const db = openDbi('dbi');
  fill(db, 2000);
  const { lines } = changesOf(() => {
    db.putSync(key(3), Buffer.alloc(60, 3));
    db.putSync(Buffer.from('000000a'), Buffer.alloc(1500));
    db.removeSync(Buffer.from('000000a'));
  });
  expect(lines).toEqual([]);
});

test('an overflow value is compared by page number first, and its bytes are not read', () => {
  const db = openDbi('dbi');
  db.putSync(Buffer.from('big'), Buffer.alloc(100_000, 1));
  const { lines, pagesRead } = changesOf(() => db.putSync(Buffer.from('small'), Buffer.from('x')));
  expect(lines).toEqual(['dbi|small|-|=x']);
  // On both sides the leaf of the main database and, twice, that of the DBI; no overflow page.
  expect(pagesRead).toBe(6);
});

test.each([
  ['grows out of its leaf', 50, 9000],
  ['shrinks into its leaf', 9000, 50],
  ['stays on overflow pages', 9000, 9000],
  ['becomes longer on them', 9000, 30_000],
  ['becomes empty', 9000, 0],
])('a value that %s is one change', (_name, oldBytes, newBytes) => {
  const db = openDbi('dbi');
  const [oldValue, newValue] = [Buffer.alloc(oldBytes, 'a'), Buffer.alloc(newBytes, 'b')];
  db.putSync(Buffer.from('k'), oldValue);
  const { lines } = changesOf(() => db.putSync(Buffer.from('k'), newValue));
  expect(lines).toEqual([`dbi|k|=${oldValue.toString()}|=${newValue.toString()}`]);
});

test('an overflow value written again with the same bytes is no change', () => {
  const db = openDbi('dbi');
  db.putSync(Buffer.from('k'), Buffer.alloc(9000, 'a'));
  expect(changesOf(() => db.putSync(Buffer.from('k'), Buffer.alloc(9000, 'a'))).lines).toEqual([]);
});

test('DBIs that are created, emptied, dropped and created again are announced with their records', () => {
  const emptied = openDbi('emptied');
  const dropped = openDbi('dropped');
  const again = openDbi('again');
  openDbi('untouched');
  for (const db of [emptied, dropped, again]) {
    db.putSync(Buffer.from('k'), Buffer.from('v'));
  }
  using file = DataFile.open(lmdb.path);
  const pin = lmdb.pin();
  const from = file.readMeta();
  emptied.clearSync();
  dropped.dropSync();
  again.dropSync();
  openDbi('again', { dupSort: true }).putSync(Buffer.from('k'), Buffer.from('v'));
  openDbi('created');
  const nextPin = lmdb.pin();
  const announced = new Map<string, (DbRecord | undefined)[]>();
  const changes: string[] = [];
  diffPages(file, from, file.readMeta(), collectPages(file, from), {
    onDbi: (name, oldDb, newDb) => announced.set(name, [oldDb, newDb]),
    onChange: (c) => changes.push(`${c.keyBuffer[c.keyStart]} ${c.hasOld} ${c.hasNew}`),
  });
  expect([...announced.keys()].sort()).toEqual(['again', 'created', 'dropped', 'emptied']);
  expect(announced.get('created')![0]).toBeUndefined();
  expect(announced.get('dropped')![1]).toBeUndefined();
  expect(announced.get('emptied')!.map((db) => db?.entries)).toEqual([1, 0]);
  expect(announced.get('again')!.map((db) => db?.flags)).toEqual([0, 4]);
  expect(changes.sort()).toEqual([
    '107 false true',
    '107 true false',
    '107 true false',
    '107 true false',
  ]);
  pin.done();
  nextPin.done();
});

test('a DBI that was created again with keys in another order is compared key by key', () => {
  const db = openDbi('dbi');
  fill(db, 300);
  const { lines } = changesOf(() => {
    db.dropSync();
    const again = openDbi('dbi', { reverseKey: true });
    fill(again, 299);
    again.putSync(key(5), Buffer.from('new'));
  });
  expect(lines.sort()).toEqual(
    [
      `dbi|${key(5).toString()}|=${Buffer.alloc(60, 5).toString('latin1')}|=new`,
      `dbi|${key(299).toString()}|=${Buffer.alloc(60, 299).toString('latin1')}|-`,
    ].sort(),
  );
});

test('keys that are in no order we know, by a comparator of the application, are still paired right', () => {
  const db = openDbi('with-own-order');
  fill(db, 3000);
  const pin = lmdb.pin();
  using original = DataFile.open(lmdb.path);
  const from = original.readMeta();
  lmdb.env.transactionSync(() => {
    db.putSync(key(7), Buffer.from('new'));
    db.removeSync(key(2999));
    db.putSync(Buffer.from('added'), Buffer.from('x'));
  });
  // The same pages with another flag in the DBI's records: none of its keys is where the flag's order has it.
  const bytes = fs.readFileSync(lmdb.path);
  for (
    let at = bytes.indexOf('with-own-order');
    at >= 0;
    at = bytes.indexOf('with-own-order', at + 1)
  ) {
    bytes[at + 'with-own-order'.length + 4]! |= MDB_REVERSEKEY;
  }
  fs.writeFileSync(`${lmdb.path}.copy`, bytes);
  using file = DataFile.open(`${lmdb.path}.copy`);
  const to = file.readMeta();
  const pages = collectPages(file, from);
  expect(diffLines(file, from, to, pages).sort()).toEqual(
    [
      `with-own-order|${key(2999).toString()}|=${Buffer.alloc(60, 2999).toString('latin1')}|-`,
      `with-own-order|${key(7).toString()}|=${Buffer.alloc(60, 7).toString('latin1')}|=new`,
      'with-own-order|added|-|=x',
      disorderLine('with-own-order'),
    ].sort(),
  );
  expect(pages.equals(collectPages(file, to))).toBe(true);
  pin.done();
});

test('a sink that throws leaves the page set as it was, and the same diff can be done again', () => {
  const db = openDbi('dbi');
  fill(db, 2000);
  using file = DataFile.open(lmdb.path);
  const pin = lmdb.pin();
  const from = file.readMeta();
  const pages = collectPages(file, from);
  fill(db, 2500, 30);
  const nextPin = lmdb.pin();
  const to = file.readMeta();
  let left = 1000;
  const failing = {
    onDbi: () => {},
    onChange: () => {
      left -= 1;
      if (left === 0) {
        throw new Error('enough');
      }
    },
  };
  expect(() => diffPages(file, from, to, pages, failing)).toThrow('enough');
  expect(pages.equals(collectPages(file, from))).toBe(true);
  expect(diffLines(file, from, to, pages)).toHaveLength(2500);
  pin.done();
  nextPin.done();
});

test('a page set that is not that of the old tree is refused, for changes could hide behind it', () => {
  const db = openDbi('dbi');
  fill(db, 2000);
  using file = DataFile.open(lmdb.path);
  const pin = lmdb.pin();
  const from = file.readMeta();
  fill(db, 2100, 30);
  const nextPin = lmdb.pin();
  const to = file.readMeta();
  for (const wrong of [new PageSet(), collectPages(file, to)]) {
    expect(() => diffLines(file, from, to, wrong)).toThrow(/cannot compare two states/);
  }
  pin.done();
  nextPin.done();
});

test('nothing is read where nothing was committed', () => {
  openDbi('dbi');
  expect(changesOf(() => {})).toMatchObject({ lines: [], pagesRead: 0 });
});
