import { SyncError } from '../protocol/errors.ts';
import { newRun, probeName } from '../protocol/object-name.ts';
import { bytesBody, drain } from '../storage/bodies.ts';
import type { ObjectStore } from '../storage/object-store.ts';

/**
 * Proves, on an object that nobody else knows, that the storage keeps the conditions of writes.
 *
 * A manifest that another compactor replaces unseen names a base that somebody deletes: on a storage that
 * accepts conditions and ignores them two compactors left a manifest and no data. Six small requests.
 *
 * Errors: STORAGE_FAILED where a condition is ignored, or refused although it holds; those of the store.
 */
export async function requireConditionalWrites(options: {
  readonly store: ObjectStore;
  readonly database: string;
  readonly random: (bytes: number) => Uint8Array;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { store, database, random, signal } = options;
  const name = probeName(database, newRun(random));
  await store.create(name, bytesBody(Buffer.from('first')), signal);
  try {
    const firstEtag = await etagOf(store, name, signal);
    const second = { signal, etag: firstEtag };
    if ((await store.putIfUnchanged(name, Buffer.from('second'), second)) === undefined) {
      throw conditionsError(
        'refuses conditional writes whose condition holds (If-Match)',
        'Reach the storage without a proxy that changes ETags.',
      );
    }
    // Both conditions fail now: the object is there, and has another ETag.
    const replaced = await store.putIfUnchanged(name, Buffer.from('third'), second);
    const created = await store.create(name, bytesBody(Buffer.from('fourth')), signal);
    if (replaced !== undefined || created !== 'exists') {
      throw conditionsError(
        'ignores the conditions of writes (If-Match, If-None-Match)',
        'Compact on a storage with conditional writes; agents work without.',
      );
    }
  } finally {
    // What stays is removed by the next proof.
    await store.delete(name, signal).catch(() => undefined);
  }
}

async function etagOf(
  store: ObjectStore,
  name: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const found = await store.get(name, { signal });
  if (found === undefined) {
    return undefined;
  }
  await drain(found.body);
  return found.etag;
}

function conditionsError(what: string, hint: string): SyncError {
  return new SyncError('STORAGE_FAILED', `the storage ${what}: nothing is compacted`, { hint });
}
