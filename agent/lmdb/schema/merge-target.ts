import { SyncError } from '../../../protocol/errors.ts';
import type { DbiHeader, EntryView } from '../../../protocol/snapshot.ts';
import type { DbRecord } from '../pages/data-file.ts';
import { MDB_DUPSORT, MDB_INTEGERKEY, MDB_REVERSEKEY } from '../pages/layout.ts';
import { isPrivateDbi } from '../../../protocol/dbi-name.ts';

/** Where the entries of one DBI of an object are merged into. */
export type MergeTarget = {
  /** The DBI that holds the registers. */
  readonly name: string;
  /** MDB_INTEGERKEY or nothing: how its keys must be. */
  readonly flags: number;
  /** DBIs to be created, with their flags. */
  readonly missing: ReadonlyMap<string, number>;
  /** Throws for an entry that the local DBI cannot take. */
  readonly check?: (entry: EntryView, dbiName: string) => void;
};

/** What there is to decide with. */
type TargetContext = {
  readonly formatVersion: number;
  /** The local DBIs. */
  readonly dbis: ReadonlyMap<string, DbRecord>;
};

/** undefined: the DBI is a private one, and is left out. Errors: SNAPSHOT_REJECTED. */
export type FindTarget = (header: DbiHeader, context: TargetContext) => MergeTarget | undefined;

const RAISE_MAX_DBS = 'Raise `options.max_dbs` of this database, and restart the agent.';
const NATIVE_CREATE_FLAGS = MDB_REVERSEKEY | MDB_INTEGERKEY;

/** The error for an object that does not fit this database. */
export function rejected(what: string, hint?: string): SyncError {
  return new SyncError('SNAPSHOT_REJECTED', `cannot merge: ${what}`, {
    hint:
      hint ??
      'Check that all instances of this database have the same schema and schema_tracks_changes.',
  });
}

/**
 * The error for an object that brings more DBIs than the environment may have open. It stays out until a restart, when
 * the limit may be another one.
 */
export function tooManyDbis(maxDbs: number, cause?: unknown): SyncError {
  return new SyncError(
    'SNAPSHOT_DBIS_EXCEED',
    `cannot merge: it brings more DBIs than fit into max_dbs = ${maxDbs} (in shadow mode each counts twice)`,
    { hint: RAISE_MAX_DBS, cause },
  );
}

/**
 * The targets where the application keeps the registers itself: the DBI of the same name. `createFlags`: flags to
 * create a DBI with, instead of those in the object.
 */
export function nativeTargets(createFlags: Readonly<Record<string, number>> = {}): FindTarget {
  return ({ name, flags, transform }, { dbis }) => {
    if (isPrivateDbi(name)) {
      return undefined;
    }
    if (transform !== '' || (flags & MDB_DUPSORT) !== 0) {
      throw rejected(`DBI ${name} is one of duplicate values (${transform || 'MDB_DUPSORT'})`);
    }
    const local = dbis.get(name);
    if (local !== undefined && (local.flags & MDB_DUPSORT) !== 0) {
      throw rejected(`the local DBI ${name} has duplicate values (MDB_DUPSORT)`);
    }
    const created = (createFlags[name] ?? flags) & NATIVE_CREATE_FLAGS;
    return {
      name,
      flags: (local?.flags ?? created) & MDB_INTEGERKEY,
      missing: local === undefined ? new Map([[name, created]]) : new Map(),
    };
  };
}
