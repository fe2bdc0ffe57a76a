import { SyncError } from './errors.ts';
import { streamOf, type ObjectName } from './object-name.ts';
import type { SnapshotMeta } from './snapshot.ts';

/*
 * A delta has the format of a snapshot and holds, of each DBI, only the entries that changed since the object before it in its
 * stream: tombstones included, entries merged from others left out. Absence means nothing, here as in a snapshot. Its Meta
 * has run and seq and no vector: it is no full state, and nothing may be deleted on its account.
 */

/**
 * Throws unless the object is the one its name says. An object of ours that was copied to another name would
 * else stand for a number whose content it does not have: a lost change. Upstream's objects prove nothing and pass.
 *
 * Errors: SNAPSHOT_REJECTED.
 */
export function requireMatchingMeta(name: ObjectName, meta: SnapshotMeta): void {
  if (!name.ours) {
    return;
  }
  const { databaseName, instance, run = '', seq = 0n } = meta;
  const sameDatabase = databaseName === name.database;
  const same = sameDatabase && streamOf(instance, run) === name.stream && seq === name.seq;
  if (!same || (name.kind === 'delta') !== (meta.vector === undefined)) {
    throw new SyncError(
      'SNAPSHOT_REJECTED',
      `${name.name} says inside that it is number ${seq} of ${instance}.${run}, database "${databaseName}"`,
      { hint: 'Remove the object, or give it back the name under which it was written.' },
    );
  }
}
