import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodePair, encodePair } from '../../../protocol/dupsort-hack.ts';
import { PageCursor } from '../../../agent/lmdb/pages/cursor.ts';
import { collectPages } from '../../../agent/lmdb/pages/diff.ts';
import {
  DataFile,
  listDbis,
  type DbRecord,
  type Meta,
} from '../../../agent/lmdb/pages/data-file.ts';
import { describeDisorder } from '../../../agent/lmdb/pages/disorder.ts';
import { parseMeta } from '../../../agent/lmdb/pages/meta.ts';
import { SavedVector } from '../../../agent/lmdb/saved-vector.ts';
import { readSyncState } from '../../../agent/lmdb/sync-state.ts';
import { headerLengthAt, parseValueHeader } from '../../../protocol/value-header.ts';
import { diffLines } from '../../support/lmdb-writer/diff.ts';
import { refusedOr, words, type FuzzTarget } from '../target.ts';

/** LMDBs as applications left them: integer keys, duplicates, large values; and one of deep trees, on small pages. */
const FILES = [
  { file: 'test/fuzz/files/small-pages.mdb', pageBytes: 512 },
  { file: 'test/fixtures/a-native-small/data.mdb', pageBytes: 4096 },
  { file: 'test/fixtures/c-shadow-integerkey/data.mdb', pageBytes: 4096 },
  { file: 'test/fixtures/d-shadow-dupsort/data.mdb', pageBytes: 4096 },
];
const PATCH_BYTES = 4;
/** Of the number that each page has of itself. */
const NUMBER_BYTES = 8;
/** In place of the upper half of an offset. */
const COPY = 0xff;
const SEEDED_PAGES = 10;
/** More entries than any of these files holds: a walk that gives more goes round in circles. */
const MOST_ENTRIES = 100_000;

let folder: string | undefined;
const originals = FILES.map(({ file, pageBytes }) => {
  const bytes = readFileSync(join(process.cwd(), file));
  return { bytes, pageBytes, pages: bytes.length / pageBytes };
});

/**
 * A file with some damage: the first byte of the input says which file, every four others what: a byte of a page, or
 * a page that stands where another belongs, under that one's number.
 */
function damaged(input: Uint8Array): string {
  const [first = 0] = input;
  const {
    bytes: original,
    pageBytes,
    pages,
  } = originals[first % originals.length] ?? assert.fail();
  const bytes = Buffer.from(original);
  for (let at = 1; at + PATCH_BYTES <= input.length; at += PATCH_BYTES) {
    const [page = 0, low = 0, high = 0, value = 0] = input.subarray(at);
    const start = (page % pages) * pageBytes;
    if (high === COPY) {
      const from = (value % pages) * pageBytes;
      bytes.copy(bytes, start + NUMBER_BYTES, from + NUMBER_BYTES, from + pageBytes);
    } else {
      bytes[start + (((high << 8) | low) % pageBytes)] = value;
    }
  }
  if (folder === undefined) {
    folder = mkdtempSync(join(tmpdir(), 'fuzz-lmdb-'));
    process.once('exit', () => rmSync(folder ?? '', { recursive: true, force: true }));
  }
  const path = join(folder, 'data.mdb');
  writeFileSync(path, bytes);
  return path;
}

/** Every page in the place of every other, and places of a page that say where something else is. */
function seeds(): Uint8Array[] {
  return originals.flatMap(({ pages }, file) => {
    const numbers = Array.from({ length: Math.min(pages, SEEDED_PAGES) }, (_, page) => page);
    return numbers.flatMap((page) => [
      ...numbers.map((other) => Buffer.of(file, page, 0, COPY, other)),
      ...[10, 12, 14, 16, 18, 40, 64, 88, 104, 128].map((at) => Buffer.of(file, page, at, 0, 1)),
    ]);
  });
}

/** The state before the newest one; its pages are whole in small-pages.mdb. */
function olderMeta(path: string, newest: Meta): Meta {
  const bytes = readFileSync(path);
  const [first, second] = [parseMeta(bytes, 0), parseMeta(bytes, newest.pageSize)];
  return first.txnId < second.txnId ? first : second;
}

/** Through all entries; a view must lie within its bytes. */
function walk(file: DataFile, record: DbRecord): void {
  const cursor = new PageCursor(file, record, { checksOrder: true });
  for (let entries = 0; cursor.next(); entries += 1) {
    assert(entries < MOST_ENTRIES, 'it goes round in circles');
    const { keyBuffer, keyStart, keyEnd, valueBuffer, valueStart, valueEnd } = cursor;
    assert(
      0 <= keyStart && keyStart <= keyEnd && keyEnd <= keyBuffer.length,
      'a key leaves its page',
    );
    assert(
      0 <= valueStart && valueStart <= valueEnd && valueEnd <= valueBuffer.length,
      'a value leaves its page',
    );
  }
  const disorder = refusedOr(['ENVIRONMENT_UNREADABLE'], () => [describeDisorder(file, record)]);
  assert(
    disorder === undefined || (disorder[0] === undefined) === cursor.isOrdered,
    'two walks tell different things of the order',
  );
}

/** Pages of an LMDB, in the reader that takes no lock and trusts nothing. */
export const lmdbPages: FuzzTarget = {
  name: 'lmdb-pages',
  maxBytes: 1 + 16 * PATCH_BYTES,
  seeds,
  dictionary: [Buffer.of(2, 16, 0, 2), Buffer.of(0, 128, 0, 255), Buffer.of(3, 0, COPY, 4)],
  run(input) {
    const path = damaged(input);
    const refused = <T>(work: () => T) => refusedOr(['ENVIRONMENT_UNREADABLE'], work);
    refused(() => {
      using file = DataFile.open(path);
      const meta = file.readMeta();
      const changed = refused(() => diffLines(file, meta, meta, collectPages(file, meta)));
      assert.deepEqual(changed ?? [], [], 'a state differs from itself');
      refused(() => {
        const before = olderMeta(path, meta);
        diffLines(file, before, meta, collectPages(file, before));
      });
      for (const record of listDbis(file, meta).values()) {
        refused(() => walk(file, record));
        refused(() => readSyncState(file, record));
        refused(() => SavedVector.read(file, record));
        refused(() => {
          const cursor = new PageCursor(file, record);
          const key = input.subarray(0, 9);
          for (let step = 0; step < 8 && cursor.seek(key, 0, key.length); step += 1) {
            cursor.next();
          }
        });
      }
    });
  },
};

/** What stands before every value of a native application, and keys that stand for pairs. */
export const storedValue: FuzzTarget = {
  name: 'stored-value',
  maxBytes: 600,
  seeds: () => [
    Buffer.alloc(24),
    Buffer.concat([Buffer.alloc(23), Buffer.of(1), Buffer.alloc(12, 7)]),
    Buffer.from('k\0\0\0\0value\x01', 'latin1'),
  ],
  dictionary: words('\0\0\0\0', '\x01', '\xff\xff'),
  run(input) {
    const header = refusedOr(['VALUE_HEADER_INVALID'], () => parseValueHeader(input));
    if (header !== undefined) {
      assert(header.headerLength <= input.length);
      assert.equal(
        headerLengthAt(Buffer.concat([Buffer.of(9), input]), 1, input.length + 1),
        header.headerLength,
      );
    }
    const pair = decodePair(Buffer.from(input));
    if (pair === undefined) {
      return;
    }
    assert.deepEqual(encodePair(pair.key, pair.value), Buffer.from(input));
  },
};
