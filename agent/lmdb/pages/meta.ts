import { SyncError } from '../../../protocol/errors.ts';
import {
  DB_RECORD_BYTES,
  MAX_PAGES,
  P_META,
  PAGE_HEADER_BYTES,
  damaged,
  parseDbRecord,
  readU16,
  readU32,
  readU64,
} from './layout.ts';
import type { DbRecord } from './layout.ts';

/** What a meta page says: the committed state of the environment as of one transaction. */
export type Meta = {
  readonly txnId: number;
  readonly mainDb: DbRecord;
  readonly freeDb: DbRecord;
  /** The highest page number ever used. */
  readonly lastPage: number;
  readonly mapSizeBytes: number;
  readonly pageSize: number;
  /** Version of the data format: always 1. */
  readonly version: number;
};

/** Bytes from the start of a meta page up to the end of its MDB_meta. */
export const META_BYTES = 152;

const MAGIC = 0xbeefc0de;
const DATA_VERSION = 1;
/** LMDB 1.0 has a transaction id in each page header, so its magic number stands eight bytes further on. */
const NEWER_HEADER_BYTES = 24;
const MIN_PAGE_BYTES = 512;
const MAX_PAGE_BYTES = 64 * 1024;

const VERSION_OFFSET = PAGE_HEADER_BYTES + 4;
const MAP_SIZE_OFFSET = PAGE_HEADER_BYTES + 16;
const FREE_DB_OFFSET = PAGE_HEADER_BYTES + 24;
const MAIN_DB_OFFSET = FREE_DB_OFFSET + DB_RECORD_BYTES;
const LAST_PAGE_OFFSET = MAIN_DB_OFFSET + DB_RECORD_BYTES;
const TXN_ID_OFFSET = LAST_PAGE_OFFSET + 8;

/**
 * Checks that a meta page begins at `at` and that it is of the data format that we read.
 * Errors: ENVIRONMENT_UNREADABLE, with the format's name when it is the newer one.
 */
export function checkMetaFormat(bytes: Uint8Array, at: number, path: string): void {
  const isV1Place = readU32(bytes, at + PAGE_HEADER_BYTES) === MAGIC;
  const isNewerPlace = readU32(bytes, at + NEWER_HEADER_BYTES) === MAGIC;
  if (!isV1Place && !isNewerPlace) {
    throw new SyncError('ENVIRONMENT_UNREADABLE', `${path} is not an LMDB data file`, {
      hint: 'Check the configured path, and whether it needs no_subdir.',
    });
  }
  const version = readU32(bytes, at + (isV1Place ? VERSION_OFFSET : NEWER_HEADER_BYTES + 4));
  if (!isV1Place || version !== DATA_VERSION) {
    throw new SyncError(
      'ENVIRONMENT_UNREADABLE',
      `${path} has LMDB data format ${version & 0xffff}, not 1: a program with a newer LMDB wrote it`,
      {
        hint:
          'Write it with LMDB 0.9, which PowerDNS and most programs use (npm lmdb: build it with ' +
          'LMDB_DATA_V1); dump and load it to convert it.',
      },
    );
  }
  if ((readU16(bytes, at + 10) & P_META) === 0) {
    throw damaged(`${path} has no meta page where one must be`);
  }
}

/** The page size from the first meta page. Errors: ENVIRONMENT_UNREADABLE. */
export function parsePageSize(bytes: Uint8Array): number {
  const size = readU32(bytes, FREE_DB_OFFSET);
  if (size < MIN_PAGE_BYTES || size > MAX_PAGE_BYTES || (size & (size - 1)) !== 0) {
    throw damaged(`page size ${size}`);
  }
  return size;
}

/** The transaction id of the meta page at `at`; not checked in any way. */
export function metaTxnId(bytes: Uint8Array, at: number): number {
  return readU64(bytes, at + TXN_ID_OFFSET);
}

/** Reads the meta page at `at`. Errors: ENVIRONMENT_UNREADABLE. */
export function parseMeta(bytes: Uint8Array, at: number): Meta {
  const txnId = metaTxnId(bytes, at);
  const lastPage = readU64(bytes, at + LAST_PAGE_OFFSET);
  const mapSizeBytes = readU64(bytes, at + MAP_SIZE_OFFSET);
  if (txnId > Number.MAX_SAFE_INTEGER || lastPage < 1 || lastPage >= MAX_PAGES) {
    throw damaged(`meta page of transaction ${txnId} with last page ${lastPage}`);
  }
  const pageCount = lastPage + 1;
  return {
    txnId,
    mainDb: parseDbRecord(bytes, at + MAIN_DB_OFFSET, pageCount),
    freeDb: parseDbRecord(bytes, at + FREE_DB_OFFSET, pageCount),
    lastPage,
    mapSizeBytes,
    pageSize: readU32(bytes, at + FREE_DB_OFFSET),
    version: DATA_VERSION,
  };
}
