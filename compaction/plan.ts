import type { Manifest } from '../protocol/manifest.ts';
import { type StreamId, parseObjectName } from '../protocol/object-name.ts';
import type { TimestampNs } from '../protocol/time.ts';
import { type VersionVector, covers } from '../protocol/version-vector.ts';
import { LEVEL1_GROWTH } from './limits.ts';
import { type SortedListing, type StoredObject, instanceObjects } from './listing.ts';
import type { CompactionPolicy } from './policy.ts';

/** What a run reads, in order. */
export type TailPlan = {
  /** Full snapshots, newest first: each is skipped if one before it covers it. */
  readonly snapshots: readonly StoredObject[];
  /** Deltas, stream by stream, ascending. Each counts only if its number is the next one of its stream. */
  readonly deltas: readonly StoredObject[];
  /** Compressed bytes of all of them. */
  readonly bytes: number;
};

/** The level at which a run writes: the whole state, only what is new, or nothing. */
export type FoldLevel = 'base' | 'level1' | 'none';

/** Splits the objects that `vector` does not cover into those that a run can fold, at most as many as allowed. */
export function planTail(
  listing: SortedListing,
  vector: VersionVector,
  policy: CompactionPolicy,
): TailPlan {
  const snapshots = listing.snapshots.filter((object) => !covers(vector, object));
  const reachable = reachableNumbers(listing, vector, snapshots);
  const deltas: StoredObject[] = [];
  for (const [stream, objects] of listing.deltas) {
    const last = reachable.get(stream) ?? 0n;
    deltas.push(...objects.filter((object) => !covers(vector, object) && object.seq <= last));
  }
  const room = Math.max(policy.foldObjectsMax - snapshots.length, 0);
  const taken = deltas.slice(0, room);
  const bytes = [...snapshots, ...taken].reduce((sum, object) => sum + object.sizeBytes, 0);
  return { snapshots: snapshots.slice(0, policy.foldObjectsMax), deltas: taken, bytes };
}

/**
 * Per stream the highest number that could be reached without a gap, as far as names tell: the covered one, or that of a
 * full snapshot, and the deltas that follow it one by one.
 */
function reachableNumbers(
  listing: SortedListing,
  vector: VersionVector,
  snapshots: readonly StoredObject[],
): Map<StreamId, bigint> {
  const starts = new Map<StreamId, bigint[]>();
  for (const { stream, seq } of snapshots) {
    starts.set(stream, [...(starts.get(stream) ?? []), seq]);
  }
  const reachable = new Map<StreamId, bigint>();
  for (const [stream, objects] of listing.deltas) {
    const own = new Set([vector.get(stream) ?? 0n, ...(starts.get(stream) ?? [])]);
    let last = vector.get(stream) ?? 0n;
    // A full snapshot of another instance may cover part of this stream: only its Meta tells. Then anything is possible.
    const unknown = snapshots.some((snapshot) => snapshot.stream !== stream && snapshot.ours);
    for (const { seq } of objects) {
      if (unknown || own.has(seq - 1n)) {
        own.add(seq);
        last = seq;
      }
    }
    reachable.set(stream, last);
  }
  return reachable;
}

/** The deltas behind a gap: never covered, hence never deleted, but their content may go into a base. */
export function deltasBehindGaps(
  listing: SortedListing,
  vector: VersionVector,
  limit: number,
): StoredObject[] {
  return [...instanceObjects(listing)]
    .filter((object) => object.kind === 'delta' && !covers(vector, object))
    .slice(0, limit);
}

/** What {@link chooseLevel} weighs. */
export type LevelInput = {
  readonly manifest: Manifest | undefined;
  readonly tailBytes: number;
  readonly baseBytes: number;
  /** Bytes of the published level-1 deltas. */
  readonly level1Bytes: readonly number[];
  readonly nowNs: TimestampNs;
  readonly policy: CompactionPolicy;
};

/** Decides whether a base is due: the work of a run should follow what is new, not the size of the base. */
export function chooseLevel(input: LevelInput): FoldLevel {
  const { manifest, tailBytes, baseBytes, level1Bytes, policy } = input;
  const above = tailBytes + level1Bytes.reduce((sum, bytes) => sum + bytes, 0);
  if (manifest === undefined) {
    return tailBytes > 0 ? 'base' : 'none';
  }
  const droppable = manifest.tombstones > 0 && policy.tombstoneRetentionMs !== undefined;
  const old = baseAgeMs(manifest, input.nowNs) >= policy.baseMaxAgeMs;
  if (old && (above > 0 || droppable)) {
    return 'base';
  }
  if (tailBytes === 0) {
    return 'none';
  }
  const large = baseBytes <= policy.smallBaseBytes || above > policy.baseDueRatio * baseBytes;
  const kept = level1Bytes.length - level1ToMerge(level1Bytes, tailBytes);
  return large || kept + 1 > policy.level1CountMax ? 'base' : 'level1';
}

/**
 * How many of the newest level-1 deltas go into the next one: those that are not much larger than what is gathered so
 * far. So each is about twice the next, their number stays logarithmic, and an entry is rewritten as seldom.
 */
export function level1ToMerge(level1Bytes: readonly number[], tailBytes: number): number {
  let count = 0;
  let gathered = tailBytes;
  for (let at = level1Bytes.length - 1; at >= 0; at--) {
    const bytes = level1Bytes[at] ?? 0;
    if (bytes > LEVEL1_GROWTH * gathered) {
      break;
    }
    gathered += bytes;
    count += 1;
  }
  return count;
}

function baseAgeMs(manifest: Manifest, nowNs: TimestampNs): number {
  const timeNs = parseObjectName(manifest.base)?.timeNs ?? 0n;
  return Number((nowNs - timeNs) / 1_000_000n);
}
