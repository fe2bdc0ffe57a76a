import { SyncError } from '../../../protocol/errors.ts';

/**
 * The bytes of LMDB's data format, version 1, as a 64-bit little-endian machine writes them.
 * Source: LMDB 0.9, `mdb.c`: MDB_page, MDB_node, MDB_db, MDB_meta.
 *
 * Page header, 16 bytes: number u64, pad u16 (key size of a LEAF2 page), flags u16, then lower u16 and upper u16
 * or, on the first page of an overflow run, the count of pages u32. Branch and leaf pages go on with `lower`'s
 * array of u16 node offsets from the page's start.
 *
 * Node: two u16 (low, high) and flags u16, key size u16, key, data. In a leaf low and high are the data's size;
 * in a branch low, high and flags are the child's page number, and the first key is empty and means "lowest".
 */
export const PAGE_HEADER_BYTES = 16;
export const NODE_HEADER_BYTES = 8;
export const DB_RECORD_BYTES = 48;

export const P_BRANCH = 0x01;
export const P_LEAF = 0x02;
export const P_OVERFLOW = 0x04;
export const P_META = 0x08;
/** Keys of one size, without nodes: the duplicates of a DUPFIXED DBI. */
export const P_LEAF2 = 0x20;

/** The node's data is the page number of an overflow run. */
export const F_BIGDATA = 0x01;
/** The node's data is a {@link DbRecord}. */
export const F_SUBDATA = 0x02;
/** The node's data is a sub-page of duplicates or, with F_SUBDATA, the record of a tree of them. */
export const F_DUPDATA = 0x04;

/** DBI flags, as `mdb_dbi_open` takes them and the file keeps them. */
export const MDB_REVERSEKEY = 0x02;
export const MDB_DUPSORT = 0x04;
export const MDB_INTEGERKEY = 0x08;
export const MDB_DUPFIXED = 0x10;
export const MDB_INTEGERDUP = 0x20;
export const MDB_REVERSEDUP = 0x40;

/** Levels of a tree at most. Source: `CURSOR_STACK` of `mdb.c`. */
export const MAX_TREE_DEPTH = 32;

/** Pages of a file at most, so that a page number is an unsigned 32-bit integer: 16 TiB at 4 KiB. */
export const MAX_PAGES = 2 ** 32;

/** `root` of a tree without pages. */
export const EMPTY_ROOT = -1;

const TWO_32 = 2 ** 32;

/** What LMDB keeps about one tree: a DBI, the main and the free-page database, the duplicates of one key. */
export type DbRecord = {
  /** MDB_* flags of the DBI. */
  readonly flags: number;
  readonly depth: number;
  readonly branchPages: number;
  readonly leafPages: number;
  readonly overflowPages: number;
  readonly entries: number;
  /** Page number of the root, -1 for an empty tree. */
  readonly root: number;
  /** Key size of LEAF2 pages; in the free-page database's record the file's page size. */
  readonly pad: number;
};

/** Where pages come from. The caller holds a read transaction that pins whatever it reads. */
export interface PageSource {
  readonly pageSize: number;
  /** Every valid page number is below it. */
  readonly pageCount: number;
  /** Reads one page into `into` and checks that its header has this number. Errors: ENVIRONMENT_UNREADABLE. */
  readPage(pageNumber: number, into: Buffer): void;
  /** Reads the first `byteLength` bytes from the start of a page on, over as many pages as they fill. */
  readRun(pageNumber: number, byteLength: number, into: Buffer): void;
}

/** The error for bytes that LMDB cannot have written, or that changed while they were read. */
export function damaged(what: string): SyncError {
  return new SyncError('ENVIRONMENT_UNREADABLE', `damaged LMDB file: ${what}`, {
    hint: 'Check the file with mdb_copy or mdb_dump; restore it if they fail, too.',
    retryable: true,
  });
}

/** A little-endian u16. */
export function readU16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

/** A little-endian u32. */
export function readU32(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  );
}

/** A little-endian u64 as a number; above 2^53 it is inexact, and every caller compares it with a lower bound. */
export function readU64(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) + readU32(bytes, at + 4) * TWO_32;
}

/** Reads a {@link DbRecord}; a root outside the file is refused. Errors: ENVIRONMENT_UNREADABLE. */
export function parseDbRecord(bytes: Uint8Array, at: number, pageCount: number): DbRecord {
  const rootLow = readU32(bytes, at + 40);
  const rootHigh = readU32(bytes, at + 44);
  const isEmpty = rootLow === 0xffffffff && rootHigh === 0xffffffff;
  const root = isEmpty ? EMPTY_ROOT : rootLow + rootHigh * TWO_32;
  if (!isEmpty && (root < 2 || root >= pageCount)) {
    throw damaged(`a tree's root is page ${root} of ${pageCount}`);
  }
  return {
    pad: readU32(bytes, at),
    flags: readU16(bytes, at + 4),
    depth: readU16(bytes, at + 6),
    branchPages: readU64(bytes, at + 8),
    leafPages: readU64(bytes, at + 16),
    overflowPages: readU64(bytes, at + 24),
    entries: readU64(bytes, at + 32),
    root,
  };
}
