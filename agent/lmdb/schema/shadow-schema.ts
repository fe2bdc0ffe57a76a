import type { DbiHeader, EntryView } from '../../../protocol/snapshot.ts';
import { FLAG_DELETED } from '../../../protocol/value-header.ts';
import {
  decodePair,
  DUPSORT_TRANSFORM,
  encodePair,
  MAX_LMDB_KEY_BYTES,
} from '../../../protocol/dupsort-hack.ts';
import { rejected, type FindTarget, type MergeTarget } from './merge-target.ts';
import { listDbis, type DataFile, type DbRecord, type Meta } from '../pages/data-file.ts';
import { MDB_DUPSORT } from '../pages/layout.ts';
import type { SyncedDbi } from '../changes/synced-dbis.ts';
import { applicationDbiName, shadowDbiName, isPrivateDbi } from '../../../protocol/dbi-name.ts';
import type { NameSet } from './shadow-compare.ts';
import { shadowDbiFlags } from './shadow-sides.ts';

/** Flags that LMDB keeps of a DBI. */
const PERSISTENT_FLAGS = 0x7e;
/** From this format on a snapshot says which flags and which transform the original DBI has. */
const FIRST_FORMAT_WITH_ORIGINAL_FLAGS = 3;

export type ShadowSchemaOptions = {
  readonly dupsortHack: boolean;
  /** Flags (MDB_*) to create a DBI with, instead of those in the snapshot. */
  readonly createFlags: Readonly<Record<string, number>>;
};

/**
 * The shadow DBIs of a state, each with the name and flags of the application's DBI under which it travels. `dropped`:
 * flags of DBIs that the application has dropped: only tombstones are left of them, and they travel, too. `refused`: DBIs
 * of the application that are left out.
 */
export function shadowedDbis(
  file: DataFile,
  meta: Meta,
  options: ShadowSchemaOptions & {
    readonly dropped: ReadonlyMap<string, number>;
    readonly refused: NameSet;
  },
): Map<string, SyncedDbi> {
  const { dupsortHack, createFlags, dropped, refused } = options;
  const dbis = listDbis(file, meta);
  const synced = new Map<string, SyncedDbi>();
  for (const [shadowName, record] of dbis) {
    const name = applicationDbiName(shadowName);
    if (name === undefined || refused.has(name)) {
      continue;
    }
    const known = dbis.get(name)?.flags ?? dropped.get(name) ?? createFlags[name];
    // With dupsort_hack nobody can tell any more what its keys stand for: as upstream does, it stays here.
    if (known === undefined && dupsortHack) {
      continue;
    }
    const flags = (known ?? record.flags) & PERSISTENT_FLAGS;
    const transform = (flags & MDB_DUPSORT) === 0 ? '' : DUPSORT_TRANSFORM;
    synced.set(shadowName, { record, header: { name, flags, transform } });
  }
  return synced;
}

/**
 * Where the entries of a DBI of an object go: into its shadow DBI. Both are created where they are missing.
 * Errors: SNAPSHOT_REJECTED.
 * Source: PowerDNS/lightningstream, `syncer/sync.go`, `LoadOnce`; `snapshot/transforms.go`.
 */
export function shadowTargets({ dupsortHack, createFlags }: ShadowSchemaOptions): FindTarget {
  return (header, { formatVersion, dbis }) => {
    const { name, flags } = header;
    if (isPrivateDbi(name)) {
      return undefined;
    }
    requireConsistent(header, formatVersion);
    const main = dbis.get(name);
    const override = createFlags[name];
    if (
      main === undefined &&
      override === undefined &&
      formatVersion < FIRST_FORMAT_WITH_ORIGINAL_FLAGS
    ) {
      throw rejected(
        `DBI ${name} does not exist, and a snapshot of format ${formatVersion} does not say with which flags to create it`,
        `Set \`dbi_options.${name}.override_create_flags\`, or let the application create it.`,
      );
    }
    const mainFlags = (main?.flags ?? override ?? flags) & PERSISTENT_FLAGS;
    const hasPairs = (mainFlags & MDB_DUPSORT) !== 0;
    if (hasPairs && !dupsortHack) {
      throw rejected(
        `DBI ${name} has duplicate values (MDB_DUPSORT), which needs dupsort_hack`,
        'Set `dupsort_hack: true` for this database, the same on all instances.',
      );
    }
    requireSameKind(header, { formatVersion, hasPairs });
    return {
      name: shadowDbiName(name),
      flags: shadowDbiFlags(mainFlags),
      missing: missingDbis(name, mainFlags, dbis),
      ...(hasPairs ? { check: requirePair } : {}),
    };
  };
}

function missingDbis(
  name: string,
  mainFlags: number,
  dbis: ReadonlyMap<string, DbRecord>,
): MergeTarget['missing'] {
  const missing = new Map<string, number>();
  if (!dbis.has(name)) {
    missing.set(name, mainFlags);
  }
  const shadowName = shadowDbiName(name);
  if (!dbis.has(shadowName)) {
    missing.set(shadowName, shadowDbiFlags(mainFlags));
  }
  return missing;
}

/** What the header says must make sense by itself. */
function requireConsistent({ name, flags, transform }: DbiHeader, formatVersion: number): void {
  if (transform !== '' && transform !== DUPSORT_TRANSFORM) {
    throw rejected(`DBI ${name} has the unknown transform ${transform}`);
  }
  const isDupsort = (flags & MDB_DUPSORT) !== 0;
  if (formatVersion >= FIRST_FORMAT_WITH_ORIGINAL_FLAGS && isDupsort !== (transform !== '')) {
    throw rejected(
      isDupsort
        ? `DBI ${name} has duplicate values (MDB_DUPSORT) without the transform ${DUPSORT_TRANSFORM}`
        : `DBI ${name} has the transform ${transform} without MDB_DUPSORT`,
    );
  }
}

/** Keys that stand for pairs and keys that do not cannot be mixed. Older formats do not say which they are. */
function requireSameKind(
  { name, transform }: DbiHeader,
  { formatVersion, hasPairs }: { formatVersion: number; hasPairs: boolean },
): void {
  if (formatVersion < FIRST_FORMAT_WITH_ORIGINAL_FLAGS || hasPairs === (transform !== '')) {
    return;
  }
  throw rejected(
    hasPairs
      ? `the local DBI ${name} has duplicate values (MDB_DUPSORT), that of the snapshot has not`
      : `DBI ${name} of the snapshot has duplicate values (MDB_DUPSORT), the local one has not`,
  );
}

/** Refuses what would not be the same pair again after it went through the application's DBI. */
function requirePair(entry: EntryView, dbiName: string): void {
  const { buffer, keyStart, keyEnd, valueStart, valueEnd, flags } = entry;
  // A deletion of what is no pair removes nothing; it may be left from a DBI that was one of single values once.
  if ((flags & FLAG_DELETED) !== 0) {
    return;
  }
  const key = Buffer.from(buffer.subarray(keyStart, keyEnd));
  const pair = decodePair(key);
  if (pair === undefined) {
    throw rejected(`a key of DBI ${dbiName} is not one of ${DUPSORT_TRANSFORM}`);
  }
  const length = valueEnd - valueStart;
  if (length === 0 || length > MAX_LMDB_KEY_BYTES) {
    throw rejected(
      `a value of DBI ${dbiName} has ${length} bytes, LMDB takes 1 to ${MAX_LMDB_KEY_BYTES} there`,
    );
  }
  if (encodePair(pair.key, buffer.subarray(valueStart, valueEnd))?.equals(key) !== true) {
    throw rejected(`a key of DBI ${dbiName} is not that of its value`);
  }
}
