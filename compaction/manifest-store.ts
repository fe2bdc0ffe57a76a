import { SyncError } from '../protocol/errors.ts';
import { MAX_MANIFEST_BYTES } from '../protocol/limits.ts';
import { manifestName } from '../protocol/object-name.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { type PublishedState, encodePublishedState, parseUpkeep } from './upkeep.ts';
import { readManifest } from '../storage/read-manifest.ts';

/** A manifest as it stands in the bucket. */
export type StoredState = PublishedState & { readonly etag: string };

/** The manifest of a database; undefined if there is none yet. Errors: MESSAGE_INVALID; those of the store. */
export async function readState(
  store: ObjectStore,
  database: string,
  signal: AbortSignal,
): Promise<StoredState | undefined> {
  const stored = await readManifest(store, database, signal);
  if (stored === undefined) {
    return undefined;
  }
  const { manifest, bytes, etag } = stored;
  if (manifest.database !== database) {
    throw new SyncError(
      'MESSAGE_INVALID',
      `the manifest of ${database} belongs to ${manifest.database}`,
      { hint: 'Remove the manifest that was copied from another database.' },
    );
  }
  return { manifest, upkeep: parseUpkeep(bytes, manifest.vector), etag };
}

/**
 * What became of a publication. "unknown": no clear answer, and what stands in the bucket now is not ours; it may
 * still become ours, so nothing may be deleted on its account. "confirmed": no clear answer, but it is ours.
 */
export type Publication = 'published' | 'confirmed' | 'lost' | 'unknown';

/** Publishes a manifest if the one in the bucket is still the one that `before` was. Errors: MESSAGE_INVALID, for one that is too long; an abort. */
export async function publishState(
  store: ObjectStore,
  next: PublishedState,
  options: { readonly before: StoredState | undefined; readonly signal: AbortSignal },
): Promise<Publication> {
  const { before, signal } = options;
  const { database, id } = next.manifest;
  const bytes = encodePublishedState(next);
  requireReadable(bytes, database);
  let unclear: unknown;
  try {
    const etag = await store.putIfUnchanged(manifestName(database), bytes, {
      signal,
      etag: before?.etag,
    });
    if (etag !== undefined) {
      return 'published';
    }
  } catch (error) {
    signal.throwIfAborted();
    unclear = error;
  }
  // Also after a refusal: a first attempt may have succeeded without its answer getting through.
  const now = await readState(store, database, signal);
  if (now?.manifest.id === id) {
    return 'confirmed';
  }
  return unclear === undefined ? 'lost' : 'unknown';
}

/** What readers would refuse is never published: the one before stays. */
function requireReadable(bytes: Uint8Array, database: string): void {
  if (bytes.length > MAX_MANIFEST_BYTES) {
    throw new SyncError(
      'MESSAGE_INVALID',
      `the next manifest of ${database} would have ${bytes.length} bytes, readers take ${MAX_MANIFEST_BYTES}`,
      { hint: 'Remove objects of instances that store many streams, and wait two days.' },
    );
  }
}
