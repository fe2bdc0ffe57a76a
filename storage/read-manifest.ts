import { MAX_MANIFEST_BYTES } from '../protocol/limits.ts';
import { type Manifest, parseManifest } from '../protocol/manifest.ts';
import { manifestName } from '../protocol/object-name.ts';
import type { ObjectStore } from './object-store.ts';
import { readBounded } from './read-bounded.ts';

/** A manifest as it stands in the bucket. */
export type StoredManifest = {
  readonly manifest: Manifest;
  /** The whole object. The compactor keeps notes of its own in it. */
  readonly bytes: Buffer;
  readonly etag: string;
};

/**
 * The manifest of a database; undefined if there is none yet.
 *
 * Errors: MESSAGE_INVALID, for one that is damaged or longer than {@link MAX_MANIFEST_BYTES}; those of the store.
 */
export async function readManifest(
  store: ObjectStore,
  database: string,
  signal: AbortSignal,
): Promise<StoredManifest | undefined> {
  const fetched = await store.get(manifestName(database), { signal });
  if (fetched === undefined) {
    return undefined;
  }
  const bytes = await readBounded(fetched.body, MAX_MANIFEST_BYTES);
  return { manifest: parseManifest(bytes), bytes, etag: fetched.etag };
}
