import fs from 'node:fs';

import { SyncError, errorText } from '../../../protocol/errors.ts';
import { keyOrderOf } from '../../../protocol/key-order.ts';
import {
  DB_RECORD_BYTES,
  F_DUPDATA,
  F_SUBDATA,
  MDB_DUPSORT,
  MDB_INTEGERKEY,
  damaged,
  parseDbRecord,
  readU64,
} from './layout.ts';
import type { DbRecord, PageSource } from './layout.ts';
import { META_BYTES, checkMetaFormat, metaTxnId, parseMeta, parsePageSize } from './meta.ts';
import type { Meta } from './meta.ts';
import { TreeWalker } from './walker.ts';

export type { DbRecord } from './layout.ts';
export type { Meta } from './meta.ts';

/** Reads of the meta pages until two in a row agree; each takes microseconds, a write to them less than one. */
const META_ATTEMPTS = 1000;

/**
 * An LMDB data file, read by positioned reads of pages and never written. Reading takes no lock: whoever reads more
 * than meta pages holds a read transaction meanwhile, opened *before* {@link readMeta}: whatever root that returns
 * is then pinned, too. The "-lock" file is never touched: closing any descriptor of it would drop LMDB's own locks.
 */
export class DataFile implements PageSource, Disposable {
  readonly path: string;
  readonly fd: number;
  readonly pageSize: number;
  /** Positioned reads so far, of meta pages too. */
  pagesRead = 0;

  #pageCount = 0;
  #isClosed = false;
  #beforeRead: (() => void) | undefined;
  readonly #metaBytes: readonly [Buffer, Buffer];

  private constructor(path: string, fd: number) {
    this.path = path;
    this.fd = fd;
    const head = Buffer.alloc(META_BYTES);
    this.#read(head, META_BYTES, 0);
    checkMetaFormat(head, 0, path);
    this.pageSize = parsePageSize(head);
    const bytes = this.pageSize + META_BYTES;
    this.#metaBytes = [Buffer.alloc(bytes), Buffer.alloc(bytes)];
    this.readMeta();
  }

  /**
   * Opens a data file for reading. Errors: ENVIRONMENT_UNREADABLE, retryable where the file may come or become whole
   * later; its message tells a newer data format, no LMDB file at all, and damage from each other.
   */
  static open(path: string): DataFile {
    let fd: number;
    try {
      fd = fs.openSync(path, 'r');
    } catch (cause) {
      throw unreadable(path, cause);
    }
    try {
      return new DataFile(path, fd);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  /** Above every page number in use as of the meta pages that were read; it never shrinks. */
  get pageCount(): number {
    return this.#pageCount;
  }

  /**
   * The newest committed state. Both meta pages are read until two reads in a row agree on the newer one, because
   * LMDB may be writing it: with MDB_WRITEMAP field by field, otherwise by one write that is not atomic either.
   * What is read with this object afterwards must belong to a Meta that it returned: that is how it knows its bounds.
   * Errors: ENVIRONMENT_UNREADABLE.
   */
  readMeta(): Meta {
    let [older, newer] = this.#metaBytes;
    this.#readMetaPages(newer);
    for (let attempt = 0; attempt < META_ATTEMPTS; attempt += 1) {
      [older, newer] = [newer, older];
      this.#readMetaPages(newer);
      const at = metaTxnId(newer, this.pageSize) > metaTxnId(newer, 0) ? this.pageSize : 0;
      if (newer.compare(older, at, at + META_BYTES, at, at + META_BYTES) === 0) {
        checkMetaFormat(newer, 0, this.path);
        checkMetaFormat(newer, this.pageSize, this.path);
        const meta = parseMeta(newer, at);
        if (meta.pageSize !== this.pageSize) {
          throw damaged(`the page size has become ${meta.pageSize}, from ${this.pageSize}`);
        }
        // What a tree uses is in the file, but the last page may be a free one behind its end.
        const pagesInFile = Math.ceil(this.sizeBytes() / this.pageSize);
        this.#pageCount = Math.max(this.#pageCount, Math.min(meta.lastPage + 1, pagesInFile));
        return meta;
      }
    }
    throw new SyncError(
      'ENVIRONMENT_UNREADABLE',
      `the meta pages of ${this.path} never hold still`,
      {
        retryable: true,
      },
    );
  }

  /**
   * The higher transaction id of the two meta pages, by one read and without any check: only good for telling
   * whether {@link readMeta} is worth its cost.
   */
  peekTxnId(): number {
    const [bytes] = this.#metaBytes;
    this.#readMetaPages(bytes);
    return Math.max(metaTxnId(bytes, 0), metaTxnId(bytes, this.pageSize));
  }

  readPage(pageNumber: number, into: Buffer): void {
    this.#read(into, this.pageSize, pageNumber * this.pageSize);
    this.#checkNumber(pageNumber, into);
  }

  /** A page as it is, whatever it says of itself. */
  readBytes(pageNumber: number, into: Buffer): void {
    this.#read(into, this.pageSize, pageNumber * this.pageSize);
  }

  readRun(pageNumber: number, byteLength: number, into: Buffer): void {
    this.#read(into, byteLength, pageNumber * this.pageSize);
    this.#checkNumber(pageNumber, into);
  }

  /** Runs `work`; `check` comes before each read in it, and what it throws ends the work. Does not nest. */
  bounded<T>(check: () => void, work: () => T): T {
    this.#beforeRead = check;
    try {
      return work();
    } finally {
      this.#beforeRead = undefined;
    }
  }

  /** Size of the file now, in bytes. */
  sizeBytes(): number {
    try {
      return fs.fstatSync(this.fd).size;
    } catch (cause) {
      throw unreadable(this.path, cause);
    }
  }

  close(): void {
    if (!this.#isClosed) {
      this.#isClosed = true;
      fs.closeSync(this.fd);
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #readMetaPages(into: Buffer): void {
    this.#read(into, this.pageSize + META_BYTES, 0);
  }

  #checkNumber(pageNumber: number, page: Buffer): void {
    const number = readU64(page, 0);
    if (number !== pageNumber) {
      throw damaged(`page ${pageNumber} says that it is page ${number}`);
    }
  }

  #read(into: Buffer, length: number, position: number): void {
    if (this.#isClosed) {
      // The descriptor's number may be another file's by now.
      throw unreadable(this.path, 'it is closed');
    }
    let done = 0;
    this.#beforeRead?.();
    this.pagesRead += 1;
    while (done < length) {
      let count: number;
      try {
        count = fs.readSync(this.fd, into, done, length - done, position + done);
      } catch (cause) {
        throw unreadable(this.path, cause);
      }
      if (count === 0) {
        throw damaged(`${this.path} ends at byte ${position + done}`);
      }
      done += count;
    }
  }
}

/**
 * The named DBIs of a committed state, in the order of their names in the file. Keys are names, one character per
 * byte (latin1). Plain entries that an application keeps in the main database are left out: {@link findUnnamedData}.
 * Errors: ENVIRONMENT_UNREADABLE.
 */
export function listDbis(file: PageSource, meta: Meta): ReadonlyMap<string, DbRecord> {
  return readMain(file, meta).dbis;
}

/**
 * What makes the main database of a state one that nothing may be written into; undefined: it only holds the records
 * of DBIs. Errors: ENVIRONMENT_UNREADABLE.
 */
export function findUnnamedData(file: PageSource, meta: Meta): UnnamedData | undefined {
  return readMain(file, meta).unnamed;
}

/**
 * "entry": the application keeps data of its own there, and has this key (one character per byte). "flags": it was made
 * for such data, and takes no DBIs. "order": LMDB would not find names in it.
 */
export type UnnamedData =
  | { readonly what: 'entry'; readonly key: string }
  | { readonly what: 'flags' | 'order' };

type MainDatabase = {
  readonly dbis: ReadonlyMap<string, DbRecord>;
  readonly unnamed: UnnamedData | undefined;
};

function readMain(file: PageSource, meta: Meta): MainDatabase {
  const known = mainDatabases.get(meta);
  if (known !== undefined) {
    return known;
  }
  const { root, flags } = meta.mainDb;
  const dbis = new Map<string, DbRecord>();
  let unnamed: UnnamedData | undefined;
  const walker = new TreeWalker(file, { order: keyOrderOf(flags) });
  walker.openTree(root);
  while (walker.next()) {
    const dbi = readDbi(walker, file.pageCount);
    if (dbi !== undefined) {
      dbis.set(dbi.name, dbi.record);
    } else {
      const { buffer, keyStart, keyEnd } = walker.node;
      unnamed ??= { what: 'entry', key: buffer.toString('latin1', keyStart, keyEnd) };
    }
  }
  if ((flags & (MDB_DUPSORT | MDB_INTEGERKEY)) !== 0) {
    unnamed ??= { what: 'flags' };
  }
  if (!walker.isOrdered) {
    unnamed ??= { what: 'order' };
  }
  const main = { dbis, unnamed };
  mainDatabases.set(meta, main);
  return main;
}

/** Every change is looked at from several sides, each of which asks for the DBIs of one or two states. */
const mainDatabases = new WeakMap<Meta, MainDatabase>();

/** The DBI that the current node of a walk through the main database stands for; undefined: a plain entry. */
export function readDbi(
  walker: TreeWalker,
  pageCount: number,
): { name: string; record: DbRecord } | undefined {
  const { node } = walker;
  if ((node.nodeFlags & (F_SUBDATA | F_DUPDATA)) !== F_SUBDATA) {
    return undefined;
  }
  const name = node.buffer.toString('latin1', node.keyStart, node.keyEnd);
  if (node.dataEnd - node.dataStart !== DB_RECORD_BYTES) {
    throw damaged(`the record of DBI "${name}" has ${node.dataEnd - node.dataStart} bytes`);
  }
  return { name, record: parseDbRecord(node.buffer, node.dataStart, pageCount) };
}

function unreadable(path: string, cause: unknown): SyncError {
  return new SyncError('ENVIRONMENT_UNREADABLE', `cannot read ${path}: ${errorText(cause)}`, {
    hint: 'Check that the path is right and that this user may read the file.',
    retryable: true,
    cause,
  });
}
