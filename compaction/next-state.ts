import type { Manifest } from '../protocol/manifest.ts';
import type { StreamId } from '../protocol/object-name.ts';
import type { TimestampNs } from '../protocol/time.ts';
import type { VersionVector } from '../protocol/version-vector.ts';
import { isDue } from './delete-rule.ts';
import { TOMBSTONE_RETENTION_MS } from './limits.ts';
import { type SortedListing, instanceObjects } from './listing.ts';
import type { CompactionPolicy } from './policy.ts';
import type { PublishedState, Upkeep } from './upkeep.ts';

/** The part of a manifest that names the state. */
export type StateObjects = Pick<
  Manifest,
  'base' | 'level1' | 'vector' | 'entries' | 'tombstones' | 'publishedAtNs' | 'rejoinBeforeNs'
>;

/** What the next manifest is made from. */
export type NextStateInput = {
  readonly before: PublishedState | undefined;
  readonly objects: StateObjects;
  readonly listing: SortedListing;
  readonly database: string;
  /** Unique. */
  readonly id: string;
  readonly nowNs: TimestampNs;
  readonly policy: CompactionPolicy;
  /** When conditional writes were proven. */
  readonly conditionsProvenNs: bigint;
};

/** The manifest to publish, with its notes brought up to date. */
export function nextState(input: NextStateInput): PublishedState {
  const { before, objects, database, id } = input;
  return {
    manifest: { version: 1, id, database, ...objects },
    upkeep: {
      ...nextSettled(input),
      retired: nextRetired(input),
      goneSinceNs: goneStreams(input, objects.vector, before?.upkeep),
      conditionsProvenNs: input.conditionsProvenNs,
    },
  };
}

function nextSettled(input: NextStateInput): Pick<Upkeep, 'settled' | 'settledAtNs'> {
  const { before, objects, nowNs, policy } = input;
  if (before === undefined) {
    return { settled: objects.vector, settledAtNs: nowNs };
  }
  const { settled, settledAtNs } = before.upkeep;
  if (!isDue(settledAtNs, nowNs, policy)) {
    return { settled, settledAtNs };
  }
  // It has served; the next vector to wait for is the one that is published now.
  return { settled: before.manifest.vector, settledAtNs: before.manifest.publishedAtNs };
}

function nextRetired(input: NextStateInput): Map<string, bigint> {
  const { before, objects, listing, nowNs } = input;
  const listed = new Set(listing.compacted.map(({ name }) => name));
  const retired = new Map([...(before?.upkeep.retired ?? [])].filter(([name]) => listed.has(name)));
  const referenced = new Set([objects.base, ...objects.level1]);
  for (const name of before === undefined
    ? []
    : [before.manifest.base, ...before.manifest.level1]) {
    if (!referenced.has(name)) {
      retired.set(name, nowNs);
    }
  }
  return retired;
}

/** Streams of the vector that have no object in the bucket, with the time since when that is known. */
function goneStreams(
  input: NextStateInput,
  vector: VersionVector,
  before: Upkeep | undefined,
): Map<StreamId, bigint> {
  const known = before?.goneSinceNs ?? new Map<StreamId, bigint>();
  if (input.listing.truncated) {
    return new Map(known);
  }
  const present = new Set<StreamId>();
  for (const { stream } of instanceObjects(input.listing)) {
    present.add(stream);
  }
  const gone = new Map<StreamId, bigint>();
  for (const stream of vector.keys()) {
    if (!present.has(stream)) {
      gone.set(stream, known.get(stream) ?? input.nowNs);
    }
  }
  return gone;
}

/**
 * The vector without the streams that have had no object in the bucket for longer than the tombstone retention. Not
 * sooner: an agent that has never merged such a stream must find it in the manifest, or it would not read the base.
 */
export function pruneVector(
  vector: VersionVector,
  input: Pick<NextStateInput, 'before' | 'listing' | 'nowNs' | 'policy'>,
): VersionVector {
  const { before, listing, nowNs, policy } = input;
  const retentionMs = policy.tombstoneRetentionMs ?? TOMBSTONE_RETENTION_MS;
  const cutNs = nowNs - BigInt(Math.round(retentionMs)) * 1_000_000n;
  const old = [...(before?.upkeep.goneSinceNs ?? [])].filter(([, sinceNs]) => sinceNs < cutNs);
  if (old.length === 0 || listing.truncated) {
    return vector;
  }
  const pruned = new Map(vector);
  for (const [stream] of old) {
    pruned.delete(stream);
  }
  for (const { stream } of instanceObjects(listing)) {
    const seq = vector.get(stream);
    if (seq !== undefined) {
      pruned.set(stream, seq);
    }
  }
  return pruned;
}

/** True if the notes say something that is worth a publication of its own: a stream has gone, come back, or been pruned. */
export function upkeepChanged(before: PublishedState, next: PublishedState): boolean {
  const a = before.upkeep.goneSinceNs;
  const b = next.upkeep.goneSinceNs;
  const sameStreams = a.size === b.size && [...a.keys()].every((stream) => b.has(stream));
  return !sameStreams || before.manifest.vector.size !== next.manifest.vector.size;
}
