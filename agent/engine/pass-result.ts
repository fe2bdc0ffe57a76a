import type { SyncError } from '../../protocol/errors.ts';
import { isBasePosition, type Manifest } from '../../protocol/manifest.ts';
import { instanceOfStream, type StreamId } from '../../protocol/object-name.ts';
import type { VersionVector } from '../../protocol/version-vector.ts';
import type { Listing } from './listing.ts';
import type { SeenBase } from './proof/stored-proof.ts';

/** What one listing pass saw and did. */
export type PassResult = {
  /** Every listed object, and the published base, is merged, covered or (objects only) quarantined. */
  readonly complete: boolean;
  /** Something could not be fetched or merged at this moment: the pass is worth repeating soon. */
  readonly retry: boolean;
  readonly listing: Listing;
  readonly manifest: Manifest | undefined;
  readonly base: SeenBase;
  /** Why the published state could not be read: its manifest is damaged, or a part of it gone or damaged. */
  readonly unreadable: SyncError | undefined;
  /** Wall clock just before the LIST. */
  readonly startedNs: bigint;
  /** The vector just before the LIST. */
  readonly vectorBefore: VersionVector;
  /** The same, with what was known before the vector was emptied. */
  readonly known: VersionVector;
  /** Own positions that the published state proves to be stored. */
  readonly proven: VersionVector;
};

/**
 * Streams of the vector that a complete pass shows to be over: nothing of them is in the bucket and the manifest no
 * longer names them. One that the manifest still names must stay, since it may be needed to cover it; one that was not
 * in the vector before the LIST may have begun after it. Without a manifest others' stay: nothing tells what comes back.
 *
 * An own one must be proven to be stored by now: `proven` has the positions of which that is known.
 */
export function finishedStreams(
  result: PassResult,
  { instance, proven }: { readonly instance: string; readonly proven: VersionVector },
): StreamId[] {
  const { manifest, listing, vectorBefore } = result;
  const alive = new Set<StreamId>(listing.objects.map((object) => object.stream));
  const isOver = (stream: StreamId, seq: bigint): boolean =>
    instanceOfStream(stream) === instance
      ? (proven.get(stream) ?? 0n) >= seq
      : manifest !== undefined;
  return [...vectorBefore]
    .filter(
      ([stream, seq]) =>
        !alive.has(stream) &&
        !isBasePosition(stream) &&
        manifest?.vector.has(stream) !== true &&
        isOver(stream, seq),
    )
    .map(([stream]) => stream);
}
