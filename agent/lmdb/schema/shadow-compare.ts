import type { LeftOut } from '../changes/left-out.ts';
import { noteInvalid } from '../changes/stored-value.ts';
import { encodePair } from '../../../protocol/dupsort-hack.ts';
import { listDbis, type DataFile, type Meta } from '../pages/data-file.ts';
import { PageCursor } from '../pages/cursor.ts';
import { MDB_DUPSORT } from '../pages/layout.ts';
import { applicationDbiName, shadowDbiName, isPrivateDbi } from '../../../protocol/dbi-name.ts';
import { duplicatesRefused, ShadowSides, type DbiSides } from './shadow-sides.ts';
import { isDeletedAt } from '../../../protocol/value-header.ts';

/** Names of DBIs. */
export type NameSet = { has(dbiName: string): boolean };

export type CompareOptions = {
  /** DBIs of the application that are left out. */
  readonly refused: NameSet;
  readonly dupsortHack: boolean;
  /** Keys (DBI, NUL, key) that cannot be synced are added. */
  readonly invalid: Set<string>;
  /** Takes the entries that no object can carry. */
  readonly leftOut: LeftOut;
};

/** A key of a shadow DBI whose register is behind the application. */
export type BehindKey = { readonly dbiName: string; readonly key: string };

/** The application's DBIs of a state, by name; a DBI that is gone but has a shadow is one without entries. */
function applicationDbis(file: DataFile, meta: Meta): Set<string> {
  const names = new Set<string>();
  for (const name of listDbis(file, meta).keys()) {
    const application = applicationDbiName(name) ?? (isPrivateDbi(name) ? undefined : name);
    if (application !== undefined) {
      names.add(application);
    }
  }
  return names;
}

/**
 * Compares all of the application's DBIs with their shadow DBIs at one root: what a diff does for the keys that changed.
 * Reads each entry of both once or twice; takes no lock. Errors: CONFIG_INVALID for an MDB_DUPSORT DBI without
 * dupsort_hack.
 */
export function* findBehind(
  file: DataFile,
  meta: Meta,
  options: CompareOptions,
): Generator<BehindKey> {
  if (!options.dupsortHack) {
    requireNoDuplicates(file, meta);
  }
  for (const dbiName of applicationDbis(file, meta)) {
    if (options.refused.has(dbiName)) {
      continue;
    }
    const sides = new ShadowSides(file, meta, options.leftOut).of(dbiName);
    const liveMet = yield* walkMain(file, { ...options, dbiName, sides });
    // Where the application's entries account for all live registers, none of them is left over.
    if (countLive(file, sides) !== liveMet) {
      yield* walkShadow(file, { dbiName, sides });
    }
  }
}

/** Errors: CONFIG_INVALID where one of the application's DBIs is of duplicate values. */
export function requireNoDuplicates(file: DataFile, meta: Meta): void {
  for (const [name, { flags }] of listDbis(file, meta)) {
    if (!isPrivateDbi(name) && (flags & MDB_DUPSORT) !== 0) {
      throw duplicatesRefused(name);
    }
  }
}

/** Yields what the application has and the registers do not; returns how many live registers it met. */
function* walkMain(
  file: DataFile,
  { dbiName, sides, invalid, leftOut }: CompareOptions & { dbiName: string; sides: DbiSides },
): Generator<BehindKey, number> {
  let liveMet = 0;
  if (sides.main === undefined) {
    return liveMet;
  }
  const cursor = new PageCursor(file, sides.main);
  while (cursor.next()) {
    const own = cursor.keyBuffer.subarray(cursor.keyStart, cursor.keyEnd);
    const key = sides.hasPairs
      ? encodePair(own, cursor.valueBuffer.subarray(cursor.valueStart, cursor.valueEnd))
      : own;
    if (key === undefined) {
      noteInvalid(invalid, dbiName, own.toString('latin1'));
      continue;
    }
    sides.look(key);
    if (sides.isLive) {
      liveMet += 1;
    }
    if (sides.isTooLarge) {
      leftOut.note(dbiName, key.toString('latin1'), sides.mainEnd - sides.mainStart);
    }
    if (sides.isAmbiguous) {
      noteInvalid(invalid, dbiName, key.toString('latin1'));
    }
    if (!sides.isInStep) {
      yield { dbiName, key: key.toString('latin1') };
    }
  }
  return liveMet;
}

/** Yields the live registers of keys that the application does not have. */
function* walkShadow(
  file: DataFile,
  { dbiName, sides }: { dbiName: string; sides: DbiSides },
): Generator<BehindKey> {
  if (sides.shadow === undefined) {
    return;
  }
  const cursor = new PageCursor(file, sides.shadow);
  while (cursor.next()) {
    const key = cursor.keyBuffer.subarray(cursor.keyStart, cursor.keyEnd);
    sides.look(key);
    if (!sides.hasMain && !sides.isInStep) {
      yield { dbiName, key: key.toString('latin1') };
    }
  }
}

function countLive(file: DataFile, { shadow }: DbiSides): number {
  if (shadow === undefined) {
    return 0;
  }
  let live = 0;
  const cursor = new PageCursor(file, shadow);
  while (cursor.next()) {
    const { valueBuffer, valueStart } = cursor;
    if (!isDeletedAt(valueBuffer, valueStart)) {
      live += 1;
    }
  }
  return live;
}

/** True if one of the application's DBIs has no shadow DBI yet, and is not refused. */
export function lacksShadow(file: DataFile, meta: Meta, refused: NameSet): boolean {
  const dbis = listDbis(file, meta);
  return [...dbis.keys()].some(
    (name) => !isPrivateDbi(name) && !refused.has(name) && !dbis.has(shadowDbiName(name)),
  );
}
