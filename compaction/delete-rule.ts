import type { TimestampNs } from '../protocol/time.ts';
import { type VersionVector, covers } from '../protocol/version-vector.ts';
import {
  type SortedListing,
  type StoredObject,
  instanceObjects,
  newestSnapshots,
} from './listing.ts';
import type { CompactionPolicy } from './policy.ts';
import type { PublishedState } from './upkeep.ts';

const NS_PER_MS = 1_000_000n;

/** What the rule needs to know. */
export type DeleteInput = {
  /** Made before {@link DeleteInput.published} was read or written. */
  readonly listing: SortedListing;
  /** What the bucket's manifest said when the run began; undefined: there was none. */
  readonly before: PublishedState | undefined;
  /** What it says now. */
  readonly published: PublishedState;
  /** True if this run itself published it, with certainty. */
  readonly ownPublication: boolean;
  /** True if this run has stored a copy of its base for upstream, which the listing does not show. */
  readonly copied: boolean;
  readonly nowNs: TimestampNs;
  readonly policy: CompactionPolicy;
};

/**
 * The objects that may be deleted now. A deletion is only ever of something whose content the published
 * base and level-1 deltas hold, and have held for `must_keep`; where upstream reads the bucket, the newest full
 * snapshot of every instance stays.
 *
 * Of the compactor's own objects: replaced ones after `must_keep`; ones that were never published only if this run
 * has published after it listed them. Until then a manifest naming them may still be on its way; afterwards its
 * condition fails. What is published stays.
 */
export function deletable(input: DeleteInput): StoredObject[] {
  const { listing, published, policy } = input;
  const held = [input.before, published].flatMap((state) => heldVectors(state, input));
  const kept = new Set(
    policy.upstreamReads ? newestSnapshots(listing).map(({ name }) => name) : [],
  );
  const objects = [...instanceObjects(listing)].filter(
    (object) =>
      covers(published.manifest.vector, object) &&
      held.some((vector) => covers(vector, object)) &&
      !kept.has(object.name),
  );
  return [...objects, ...unreferenced(input), ...oldCopies(input)];
}

/** True if something that was so at `sinceNs` has been so for `must_keep`. */
export function isDue(sinceNs: TimestampNs, nowNs: TimestampNs, policy: CompactionPolicy): boolean {
  return sinceNs + BigInt(Math.round(policy.mustKeepMs)) * NS_PER_MS <= nowNs;
}

/** What the bucket has held for `must_keep`, by what one manifest says. */
function heldVectors(state: PublishedState | undefined, input: DeleteInput): VersionVector[] {
  const { nowNs, policy } = input;
  // One of earlier rules may cover what nobody has read.
  if (state?.manifest.lineage === undefined) {
    return [];
  }
  const { manifest, upkeep } = state;
  if (isDue(manifest.publishedAtNs, nowNs, policy)) {
    return [manifest.vector];
  }
  return isDue(upkeep.settledAtNs, nowNs, policy) ? [upkeep.settled] : [];
}

function unreferenced(input: DeleteInput): StoredObject[] {
  const { listing, published, ownPublication, nowNs, policy } = input;
  const { manifest, upkeep } = published;
  const referenced = new Set([manifest.base, ...manifest.level1]);
  return listing.compacted.filter(({ name }) => {
    if (referenced.has(name)) {
      return false;
    }
    const retiredNs = upkeep.retired.get(name);
    return retiredNs === undefined ? ownPublication : isDue(retiredNs, nowNs, policy);
  });
}

/** Copies for upstream but the newest; without upstream, all: nothing reads them. */
function oldCopies(input: DeleteInput): StoredObject[] {
  const { listing, ownPublication, copied, policy } = input;
  const keep = policy.upstreamReads && !copied ? 1 : 0;
  return ownPublication ? listing.copies.slice(keep) : [];
}
