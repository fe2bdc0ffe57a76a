import type { Manifest } from '../../protocol/manifest.ts';
import type { StreamId } from '../../protocol/object-name.ts';
import type { VersionVector } from '../../protocol/version-vector.ts';
import type { Listing } from './listing.ts';

/** What one listing pass saw and did. */
export type PassResult = {
  /** Every listed object, and the published base, is merged, covered or (objects only) quarantined. */
  readonly complete: boolean;
  /** Something could not be fetched or merged at this moment: the pass is worth repeating soon. */
  readonly retry: boolean;
  readonly listing: Listing;
  readonly manifest: Manifest | undefined;
  /** Wall clock just before the LIST. */
  readonly startedNs: bigint;
  /** The vector just before the LIST. */
  readonly vectorBefore: VersionVector;
};

/**
 * Streams of the vector that a complete pass shows to be over: nothing of them is in the bucket and the manifest no
 * longer names them. One that the manifest still names must stay, or the base would be read again in every pass; one
 * that was not in the vector before the LIST may have begun after it.
 */
export function finishedStreams(result: PassResult): StreamId[] {
  const alive = new Set<StreamId>(result.listing.objects.map((object) => object.stream));
  return [...result.vectorBefore.keys()].filter(
    (stream) => !alive.has(stream) && result.manifest?.vector.has(stream) !== true,
  );
}
