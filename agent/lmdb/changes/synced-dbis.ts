import { isPrivateDbi } from '../../../protocol/dbi-name.ts';
import type { DbiHeader } from '../../../protocol/snapshot.ts';
import { listDbis, type DataFile, type DbRecord, type Meta } from '../pages/data-file.ts';
import { MDB_DUPSORT } from '../pages/layout.ts';

/** A DBI whose entries are synced, and what an object says of it. */
export type SyncedDbi = { readonly record: DbRecord; readonly header: DbiHeader };

/** The DBIs that hold the registers of a state, by their names in the LMDB. */
export type SyncedDbis = ReadonlyMap<string, SyncedDbi>;

/** The flags of a DBI that an object carries. */
const DBI_FLAGS_MASK = 0x7f;

/** The synced DBIs of an application that keeps the registers itself: all but the private and the refused ones. */
export function nativeDbis(
  file: DataFile,
  meta: Meta,
  refused: { has(dbiName: string): boolean },
): SyncedDbis {
  const dbis = new Map<string, SyncedDbi>();
  for (const [name, record] of listDbis(file, meta)) {
    if (refused.has(name)) {
      continue;
    }
    // Native values have one value per key; what is in a DUPSORT DBI cannot have a header of its own.
    if (isPrivateDbi(name) || (record.flags & MDB_DUPSORT) !== 0) {
      continue;
    }
    const header = { name, flags: record.flags & DBI_FLAGS_MASK, transform: '' };
    dbis.set(name, { record, header });
  }
  return dbis;
}

/** Entries of these DBIs together. */
export function countEntries(dbis: SyncedDbis): number {
  let entries = 0;
  for (const { record } of dbis.values()) {
    entries += record.entries;
  }
  return entries;
}
