import { SyncError } from '../../../protocol/errors.ts';
import {
  FLAG_DELETED,
  VALUE_HEADER_BYTES,
  parseValueHeader,
  writeValueHeader,
  setTxnId,
  timeHiAt,
  timeLoAt,
} from '../../../protocol/value-header.ts';
import type { WriteTxn } from '../environment.ts';
import { listDbis, type DataFile, type DbRecord } from '../pages/data-file.ts';
import { PageCursor } from '../pages/cursor.ts';
import { MDB_DUPSORT } from '../pages/layout.ts';
import { requireOrdered } from './require-ordered.ts';

export type Migration = {
  readonly sourceDbi: string;
  readonly targetDbi: string;
  /** Deletions that the source knows become tombstones in the target. */
  readonly addDeleted: boolean;
};

/** undefined: the source DBI does not exist. */
export type MigrationResult = { readonly updated: number; readonly addedDeletes: number };

/** Values of upstream before 0.3.0 are a time and the application's value; a time alone says "deleted". */
const TIME_BYTES = 8;

/**
 * Copies timestamps from one DBI to another by key, where the source has the later one; values are not compared.
 * The cost: one walk through the target, one through the source. Reads what was committed, writes to `txn`.
 *
 * Errors: ENVIRONMENT_UNREADABLE for a DBI out of order, VALUE_HEADER_INVALID (the caller lets the transaction fail), USAGE for DBIs that cannot be used.
 * Source: PowerDNS/lightningstream, `cmd/lightningstream/commands/experimental.go`.
 */
export function migrateTimestamps(
  { file, txn }: { readonly file: DataFile; readonly txn: WriteTxn },
  migration: Migration,
): MigrationResult | undefined {
  const { sourceDbi, targetDbi, addDeleted } = migration;
  const dbis = listDbis(file, txn.committed);
  const source = dbis.get(sourceDbi);
  if (source === undefined) {
    return undefined;
  }
  const target = dbis.get(targetDbi);
  if (target === undefined) {
    throw new SyncError('USAGE', `there is no DBI ${targetDbi}`, {
      hint: 'See "stats" for the DBIs there are.',
    });
  }
  for (const [name, record] of [
    [sourceDbi, source],
    [targetDbi, target],
  ] as const) {
    if ((record.flags & MDB_DUPSORT) === 0) {
      requireOrdered(file, name, record);
      continue;
    }
    throw new SyncError('USAGE', `DBI ${name} is MDB_DUPSORT: its entries have no timestamps`);
  }
  const walk = { file, txn, source, target, migration };
  return { updated: copyLater(walk), addedDeletes: addDeleted ? addTombstones(walk) : 0 };
}

type Walk = {
  readonly file: DataFile;
  readonly txn: WriteTxn;
  readonly source: DbRecord;
  readonly target: DbRecord;
  readonly migration: Migration;
};

function copyLater({ file, txn, source, target, migration }: Walk): number {
  let updated = 0;
  const to = new PageCursor(file, target);
  const from = new PageCursor(file, source);
  while (to.next()) {
    const key = keyOf(to);
    const length = to.valueEnd - to.valueStart;
    if (length < VALUE_HEADER_BYTES) {
      throw invalid(`${migration.targetDbi}: a value of ${length} bytes has no header`, key);
    }
    if (!seekKey(from, key)) {
      continue;
    }
    const time = timeOf(from, migration.sourceDbi);
    const old = to.valueBuffer.subarray(to.valueStart, to.valueEnd);
    if (old.compare(time, 0, TIME_BYTES, 0, TIME_BYTES) >= 0) {
      continue;
    }
    const value = Buffer.from(old);
    time.copy(value);
    setTxnId(value, txn.txnId);
    txn.put(migration.targetDbi, key, value);
    updated++;
  }
  return updated;
}

function addTombstones({ file, txn, source, target, migration }: Walk): number {
  let added = 0;
  const from = new PageCursor(file, source);
  const to = new PageCursor(file, target);
  while (from.next()) {
    const key = keyOf(from);
    const time = timeOf(from, migration.sourceDbi);
    if (!isDeleted(from, migration.sourceDbi) || seekKey(to, key)) {
      continue;
    }
    const value = Buffer.alloc(VALUE_HEADER_BYTES);
    const [timeHi, timeLo] = [timeHiAt(time, 0), timeLoAt(time, 0)];
    writeValueHeader(value, 0, { timeHi, timeLo, txnId: txn.txnId, flags: FLAG_DELETED });
    txn.put(migration.targetDbi, key, value);
    added++;
  }
  return added;
}

function isDeleted(cursor: PageCursor, dbi: string): boolean {
  const value = cursor.valueBuffer.subarray(cursor.valueStart, cursor.valueEnd);
  if (value.length === TIME_BYTES) {
    return true;
  }
  const key = keyOf(cursor);
  let header;
  try {
    header = parseValueHeader(value);
  } catch (cause) {
    throw invalid(`${dbi}: a value of ${value.length} bytes has no header`, key, cause);
  }
  if ((header.flags & FLAG_DELETED) === 0) {
    return false;
  }
  if (value.length > header.headerLength) {
    throw invalid(`${dbi}: a deleted entry has a value`, key);
  }
  return true;
}

function timeOf(cursor: PageCursor, dbi: string): Buffer {
  const length = cursor.valueEnd - cursor.valueStart;
  if (length < TIME_BYTES) {
    throw invalid(`${dbi}: a value of ${length} bytes has no timestamp`, keyOf(cursor));
  }
  return cursor.valueBuffer.subarray(cursor.valueStart, cursor.valueEnd);
}

function keyOf(cursor: PageCursor): Buffer {
  return Buffer.from(cursor.keyBuffer.subarray(cursor.keyStart, cursor.keyEnd));
}

function seekKey(cursor: PageCursor, key: Buffer): boolean {
  if (!cursor.seek(key, 0, key.length)) {
    return false;
  }
  return key.equals(cursor.keyBuffer.subarray(cursor.keyStart, cursor.keyEnd));
}

function invalid(what: string, key: Buffer, cause?: unknown): SyncError {
  return new SyncError('VALUE_HEADER_INVALID', `${what} (key ${key.toString('hex')})`, {
    hint: 'Check that these are the right DBIs; nothing was changed.',
    cause,
  });
}
