import { HighestTime, isAbove } from './highest-time.ts';
import type { DbiHeader } from '../../../protocol/snapshot.ts';
import type { TxnRanges } from './txn-ranges.ts';
import { KeySet } from './key-set.ts';
import { listDbis, type DataFile, type DbRecord, type Meta } from '../pages/data-file.ts';
import { addOnce } from '../pages/collect.ts';
import { PageCursor } from '../pages/cursor.ts';
import { collectPages } from '../pages/diff.ts';
import type { PageSet } from '../pages/set.ts';
import { MDB_DUPSORT } from '../pages/layout.ts';
import { isValidValue, noteInvalid, readBigEndian32, txnIdAt } from './change-classifier.ts';
import { isPrivateDbi } from '../sync-state.ts';

/** A DBI whose entries are synced, and what an object says of it. */
export type SyncedDbi = { readonly record: DbRecord; readonly header: DbiHeader };

/** The DBIs that hold the registers of a state, by their names in the LMDB. */
export type SyncedDbis = ReadonlyMap<string, SyncedDbi>;

const DBI_FLAGS_MASK = 0x7f;

/** The synced DBIs of an application that keeps the registers itself: all but the private ones. */
export function nativeDbis(file: DataFile, meta: Meta): SyncedDbis {
  const dbis = new Map<string, SyncedDbi>();
  for (const [name, record] of listDbis(file, meta)) {
    // Native values have one value per key; what is in a DUPSORT DBI cannot have a header of its own.
    if (isPrivateDbi(name) || (record.flags & MDB_DUPSORT) !== 0) {
      continue;
    }
    const header = { name, flags: record.flags & DBI_FLAGS_MASK, transform: '' };
    dbis.set(name, { record, header });
  }
  return dbis;
}

export function countEntries(dbis: SyncedDbis): number {
  let entries = 0;
  for (const { record } of dbis.values()) {
    entries += record.entries;
  }
  return entries;
}

export type ScanOptions = {
  readonly dbis: SyncedDbis;
  /** Becomes the page set of the state: the scan reads every page anyway. */
  readonly pages: PageSet;
  /** Entries of later transactions, and of transaction 0, are local changes unless they are echoes. */
  readonly sinceTxn: number;
  readonly merged: TxnRanges;
  /** A local change not above this was written by a clock that is behind. */
  readonly maxTsNs: bigint;
  readonly pendingBytesMax: number;
  readonly invalid: Set<string>;
};

export type ScanResult = {
  readonly pending: KeySet;
  readonly changes: number;
  /** A local change is not above `maxTsNs`: it may have replaced a newer entry. */
  readonly low: boolean;
  /** The highest time of any entry. */
  readonly maxTsNs: bigint;
};

/**
 * True where entries may have gone since there were `before`, with nothing left to see of them. Updates and new entries
 * look alike: only where every change is a new entry is it certain that none of the others is gone.
 */
export function mayHaveVanished(
  before: number,
  now: { readonly entries: number; readonly changes: number },
): boolean {
  const added = now.entries - before;
  return added !== 0 && added !== now.changes;
}

/** Reads every header once and finds what no stored object holds: at start, and where no diff is possible. */
export function scanLocalChanges(file: DataFile, meta: Meta, options: ScanOptions): ScanResult {
  const { sinceTxn, merged, invalid } = options;
  const pending = new KeySet(options.pendingBytesMax);
  const knownHi = Number(options.maxTsNs >> 32n);
  const knownLo = Number(options.maxTsNs & 0xffff_ffffn);
  const highest = new HighestTime();
  let changes = 0;
  let low = false;
  invalid.clear();
  const synced = options.dbis;
  collectPages(file, meta, { pages: options.pages, skips: (name) => synced.has(name) });
  const onPage = addOnce(options.pages);
  for (const [name, { record }] of synced) {
    const cursor = new PageCursor(file, record, onPage);
    while (cursor.next()) {
      const { valueBuffer, valueStart, valueEnd } = cursor;
      if (!isValidValue(valueBuffer, valueStart, valueEnd)) {
        noteInvalid(
          invalid,
          name,
          cursor.keyBuffer.toString('latin1', cursor.keyStart, cursor.keyEnd),
        );
        continue;
      }
      const timeHi = readBigEndian32(valueBuffer, valueStart);
      const timeLo = readBigEndian32(valueBuffer, valueStart + 4);
      highest.note(timeHi, timeLo);
      const txnId = txnIdAt(valueBuffer, valueStart);
      if ((txnId <= sinceTxn && txnId !== 0) || merged.has(txnId)) {
        continue;
      }
      changes += 1;
      if (!isAbove(timeHi, timeLo, knownHi, knownLo)) {
        low = true;
      }
      pending.add(name, cursor.keyBuffer.toString('latin1', cursor.keyStart, cursor.keyEnd));
    }
  }
  return { pending, changes, low, maxTsNs: highest.ns };
}
