import type { Lineage, Manifest } from '../protocol/manifest.ts';
import type { StreamId } from '../protocol/object-name.ts';
import type { TimestampNs } from '../protocol/time.ts';
import type { ClaimedState } from './claims.ts';
import { isDue } from './delete-rule.ts';
import { PRUNE_AFTER_MS } from './limits.ts';
import { type SortedListing, instanceObjects } from './listing.ts';
import type { CompactionPolicy } from './policy.ts';
import type { Gone, PublishedState, Upkeep } from './upkeep.ts';

/** The part of a manifest that names the state. */
export type StateObjects = Pick<
  Manifest,
  | 'base'
  | 'level1'
  | 'vector'
  | 'entries'
  | 'tombstones'
  | 'publishedAtNs'
  | 'rejoinBeforeNs'
  | 'schemaMode'
  | 'assumed'
  | 'droppedNs'
>;

/** What the next manifest is made from. */
export type NextStateInput = {
  /** What the state is built on; undefined: it begins from nothing. */
  readonly before: PublishedState | undefined;
  /** The manifest that is replaced: that of `before`, or one whose objects are lost. */
  readonly replaced: PublishedState | undefined;
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
  const { objects, database, id } = input;
  const lineage = nextLineage(input);
  return {
    manifest: { version: 1, id, database, ...objects, lineage },
    upkeep: {
      ...nextSettled(input),
      retired: nextRetired(input),
      gone: goneStreams(input, lineage.generation),
      conditionsProvenNs: input.conditionsProvenNs,
    },
  };
}

/**
 * One generation more, and another lineage where a compactor begins from nothing, or goes on from a state of earlier rules:
 * then streams may have left its vector, nobody knows when, so every host reads the state once.
 */
function nextLineage({ before, objects, id }: NextStateInput): Lineage {
  const { base, level1 } = objects;
  const known = before?.manifest.lineage;
  if (before === undefined || known === undefined) {
    const partGenerations = [base, ...level1].map(() => 1n);
    const prunedGeneration = before === undefined ? 0n : 1n;
    return { id, generation: 1n, prunedGeneration, partGenerations };
  }
  const generation = known.generation + 1n;
  const parts = [before.manifest.base, ...before.manifest.level1];
  const made = new Map(parts.map((name, at) => [name, known.partGenerations[at] ?? generation]));
  let { prunedGeneration } = known;
  for (const [stream, gone] of before.upkeep.gone) {
    if (!objects.vector.has(stream) && gone.generation > prunedGeneration) {
      prunedGeneration = gone.generation;
    }
  }
  const partGenerations = [base, ...level1].map((name) => made.get(name) ?? generation);
  return { id: known.id, generation, prunedGeneration, partGenerations };
}

function nextSettled(input: NextStateInput): Pick<Upkeep, 'settled' | 'settledAtNs'> {
  const { before, objects, nowNs, policy } = input;
  // What earlier rules claimed is no reason to delete anything.
  if (before?.manifest.lineage === undefined) {
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
  const { replaced, objects, listing, nowNs } = input;
  const listed = new Set(listing.compacted.map(({ name }) => name));
  const retired = new Map(
    [...(replaced?.upkeep.retired ?? [])].filter(([name]) => listed.has(name)),
  );
  const referenced = new Set([objects.base, ...objects.level1]);
  for (const name of replaced === undefined
    ? []
    : [replaced.manifest.base, ...replaced.manifest.level1]) {
    if (!referenced.has(name)) {
      retired.set(name, nowNs);
    }
  }
  return retired;
}

/**
 * Streams of the vector that have no object in the bucket: since when, and up to which generation something of them may
 * have come into the state.
 */
function goneStreams(input: NextStateInput, generation: bigint): Map<StreamId, Gone> {
  const { before, objects, listing, nowNs } = input;
  const known = before?.upkeep.gone ?? new Map<StreamId, Gone>();
  const gone = new Map<StreamId, Gone>();
  const present = listing.truncated ? undefined : streamsOf(listing);
  for (const stream of objects.vector.keys()) {
    const since = known.get(stream);
    // Of a listing that was cut off nothing is known that was not known before.
    if (present === undefined ? since !== undefined : !present.has(stream)) {
      gone.set(stream, since ?? { sinceNs: nowNs, generation });
    }
  }
  return gone;
}

/**
 * What is claimed, without the streams that have had no object in the bucket for longer than {@link PRUNE_AFTER_MS}: so
 * vector and manifest follow what lives. Who was away for longer reads the base, since the lineage says which generation
 * it must know. See {@link nextState}.
 */
export function pruneStreams(
  { vector, assumed }: ClaimedState,
  { before, listing, nowNs }: Pick<NextStateInput, 'before' | 'listing' | 'nowNs'>,
): ClaimedState {
  const cutNs = nowNs - BigInt(PRUNE_AFTER_MS) * 1_000_000n;
  const old = [...(before?.upkeep.gone ?? [])].filter(([, { sinceNs }]) => sinceNs < cutNs);
  // Without a lineage nothing could tell hosts to read the base.
  if (old.length === 0 || listing.truncated || before?.manifest.lineage === undefined) {
    return { vector, assumed };
  }
  const present = streamsOf(listing);
  const over = new Set(old.map(([stream]) => stream).filter((stream) => !present.has(stream)));
  return {
    vector: new Map([...vector].filter(([stream]) => !over.has(stream))),
    assumed: new Set([...assumed].filter((stream) => !over.has(stream))),
  };
}

function streamsOf(listing: SortedListing): Set<StreamId> {
  const streams = new Set<StreamId>();
  for (const { stream } of instanceObjects(listing)) {
    streams.add(stream);
  }
  return streams;
}

/**
 * True if the notes say something that is worth a publication of its own: a stream has gone, come back, or been pruned; or
 * the state is one of earlier rules.
 */
export function upkeepChanged(before: PublishedState, next: PublishedState): boolean {
  const a = before.upkeep.gone;
  const b = next.upkeep.gone;
  const sameStreams = a.size === b.size && [...a.keys()].every((stream) => b.has(stream));
  const isEarlier = before.manifest.lineage === undefined;
  const { vector } = next.manifest;
  const isMoved = [...vector].some(([stream, seq]) => before.manifest.vector.get(stream) !== seq);
  return isEarlier || !sameStreams || isMoved || before.manifest.vector.size !== vector.size;
}
