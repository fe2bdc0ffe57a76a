import { SyncError } from '../protocol/errors.ts';
import { isStored } from '../storage/is-stored.ts';
import type { SortedListing } from './listing.ts';
import { type StoredState, readState } from './manifest-store.ts';
import { DbiTable } from './merge/dbi-table.ts';
import { registerDbis } from './merge/load.ts';
import { type CompactOptions, checkTime } from './run-context.ts';

/**
 * The name of a published object that is not in the bucket although the manifest still names it; undefined: all are
 * there. A lifecycle rule or a hand has removed it. Requests: none where all are listed.
 */
export async function findMissingPart(
  run: CompactOptions,
  { listing, stored }: { readonly listing: SortedListing; readonly stored: StoredState },
): Promise<string | undefined> {
  const listed = new Set(listing.compacted.map(({ name }) => name));
  for (const name of partsOf(stored)) {
    // The listing was made before the manifest was read, and may lag.
    if (listed.has(name)) {
      continue;
    }
    const isGone = !(await isStored(run.store, name, run.signal));
    if (isGone && (await isStillPublished(run, stored))) {
      return name;
    }
  }
  return undefined;
}

/**
 * The name of a published object whose bytes are damaged or gone; undefined: all can be read. Reads them whole.
 *
 * Bytes may have been hurt on the way, so that only who is damaged at two readings here counts:
 * what follows gives up all that the published state holds.
 */
export async function findDamagedPart(
  run: CompactOptions,
  stored: StoredState,
): Promise<string | undefined> {
  for (const name of partsOf(stored)) {
    if (await isDamagedTwice(run, name)) {
      return name;
    }
  }
  return undefined;
}

/**
 * The names of those published objects that can be read, of a state of which one is lost. Their entries go into what takes
 * its place: the objects that they were made of may be deleted, and their writers gone. What that state covered is not
 * claimed, so that hosts store again what only the lost part held.
 */
export async function readableParts(
  run: CompactOptions,
  stored: StoredState,
): Promise<readonly string[]> {
  const readable: string[] = [];
  for (const name of partsOf(stored)) {
    if (!(await isDamagedTwice(run, name))) {
      readable.push(name);
    }
  }
  return readable;
}

async function isDamagedTwice(run: CompactOptions, name: string): Promise<boolean> {
  return (await isDamaged(run, name)) && isDamaged(run, name);
}

async function isDamaged(run: CompactOptions, name: string): Promise<boolean> {
  const context = { table: new DbiTable(), checkTime: () => checkTime(run) };
  const fetched = await run.store.get(name, { signal: run.signal });
  if (fetched === undefined) {
    return true;
  }
  try {
    await registerDbis({ name, existing: true, open: () => fetched.body }, context);
    return false;
  } catch (error) {
    if (error instanceof SyncError && error.code === 'SNAPSHOT_CORRUPT') {
      return true;
    }
    throw error;
  }
}

/** False: somebody has published since, and nothing that was found out about the manifest counts. */
export async function isStillPublished(run: CompactOptions, stored: StoredState): Promise<boolean> {
  const now = await readState(run.store, run.database, run.signal);
  return now?.etag === stored.etag;
}

function partsOf({ manifest }: StoredState): readonly string[] {
  return [manifest.base, ...manifest.level1];
}
