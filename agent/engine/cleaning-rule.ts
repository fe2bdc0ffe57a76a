import type { StreamId } from '../../protocol/object-name.ts';
import { covers, type VersionVector } from '../../protocol/version-vector.ts';
import type { ListedObject } from './listing.ts';

const NS_PER_MS = 1_000_000n;

/** Why an object is superfluous; upstream's words, labels of its metric. */
export const CLEANING_REASONS = ['newer snapshot', 'stale instance'] as const;
type CleaningReason = (typeof CLEANING_REASONS)[number];

export type Superfluous = { readonly object: ListedObject; readonly reason: CleaningReason };

/** What the rule needs to know. All states have been in the bucket for `must_keep`. */
export type CleaningInput = {
  /** One listing; states and manifest were looked for after it. */
  readonly objects: readonly ListedObject[];
  readonly instance: string;
  /** Names of listed full snapshots that this run stored, each with what it proves. */
  readonly snapshots: ReadonlyMap<string, VersionVector>;
  /** What the published base covers now, and what it covered `must_keep` ago; undefined: nothing that long. */
  readonly published: { readonly now: VersionVector; readonly settled: VersionVector } | undefined;
  /** Upstream instances read the bucket. */
  readonly upstreamReaders: boolean;
  readonly removeOldInstancesMs: number;
  readonly nowNs: bigint;
};

/**
 * The objects that may be deleted: only what a full state covers that is stored in the bucket, never that state itself.
 * Deltas prove nothing, they leave out what came from others; a newer name proves nothing either.
 *
 * The published base is for everybody. One of our own full snapshots makes superfluous what is of this instance, what
 * another instance has itself superseded in the same stream, and everything of an instance that has been silent for
 * long. More would be safe, but a living instance that no longer finds what it stored sends all of it again.
 *
 * Where upstream reads the bucket, the newest full snapshot (by name) of every instance stays: it sees nothing else.
 */
export function superfluousObjects(input: CleaningInput): Superfluous[] {
  const newest = newestPerInstance(input.objects);
  const found: Superfluous[] = [];
  for (const object of input.objects) {
    if (input.upstreamReaders && newest.snapshotOf.get(object.instance) === object) {
      continue;
    }
    const reason = reasonFor(object, input, newest);
    if (reason !== undefined) {
      found.push({ object, reason });
    }
  }
  return found;
}

/**
 * True if only an unmarked full snapshot would bring or prove something: what an own earlier run has stored and nothing
 * stored covers (it may be damaged), or, where this agent cleans, what an instance has that has been silent for long.
 */
export function lacksUnmarked(
  objects: readonly ListedObject[],
  parts: {
    readonly instance: string;
    readonly ownStream: StreamId;
    /** What that snapshot would cover. */
    readonly vector: VersionVector;
    /** What is covered already. */
    readonly stored: readonly VersionVector[];
    /** undefined: this agent does not clean. */
    readonly removeOldInstancesMs: number | undefined;
    readonly nowNs: bigint;
  },
): boolean {
  const { instance, ownStream, vector, stored, removeOldInstancesMs, nowNs } = parts;
  const { timeOf } = newestPerInstance(objects);
  const isWanted = (object: ListedObject) =>
    object.instance === instance ||
    (removeOldInstancesMs !== undefined &&
      isSilent(object, timeOf, { removeOldInstancesMs, nowNs }));
  return objects.some(
    (object) =>
      object.stream !== ownStream &&
      isWanted(object) &&
      covers(vector, object) &&
      !stored.some((state) => covers(state, object)),
  );
}

/** Its instance has stored nothing for long. */
function isSilent(
  { instance }: ListedObject,
  timeOf: ReadonlyMap<string, bigint>,
  { nowNs, removeOldInstancesMs }: Pick<CleaningInput, 'nowNs' | 'removeOldInstancesMs'>,
): boolean {
  const silentNs = nowNs - (timeOf.get(instance) ?? nowNs);
  return silentNs > BigInt(Math.round(removeOldInstancesMs)) * NS_PER_MS;
}

type Newest = {
  /** Name time of the newest object of any kind, by instance. */
  readonly timeOf: ReadonlyMap<string, bigint>;
  readonly snapshotOf: ReadonlyMap<string, ListedObject>;
  /** Highest number of a full snapshot, by stream. */
  readonly snapshotSeqOf: ReadonlyMap<StreamId, bigint>;
};

function reasonFor(
  object: ListedObject,
  input: CleaningInput,
  newest: Newest,
): CleaningReason | undefined {
  const { published, snapshots, instance } = input;
  if (
    published !== undefined &&
    covers(published.now, object) &&
    covers(published.settled, object)
  ) {
    return 'newer snapshot';
  }
  if (!isCoveredByAnother(object, snapshots)) {
    return undefined;
  }
  const superseded = object.seq < (newest.snapshotSeqOf.get(object.stream) ?? 0n);
  if (object.instance === instance || superseded) {
    return 'newer snapshot';
  }
  return isSilent(object, newest.timeOf, input) ? 'stale instance' : undefined;
}

function isCoveredByAnother(
  object: ListedObject,
  snapshots: ReadonlyMap<string, VersionVector>,
): boolean {
  for (const [name, vector] of snapshots) {
    if (name !== object.name && covers(vector, object)) {
      return true;
    }
  }
  return false;
}

function newestPerInstance(objects: readonly ListedObject[]): Newest {
  const timeOf = new Map<string, bigint>();
  const snapshotOf = new Map<string, ListedObject>();
  const snapshotSeqOf = new Map<StreamId, bigint>();
  for (const object of objects) {
    const { instance, stream, seq, timeNs } = object;
    if (timeNs > (timeOf.get(instance) ?? -1n)) {
      timeOf.set(instance, timeNs);
    }
    if (object.kind !== 'snapshot') {
      continue;
    }
    if (seq > (snapshotSeqOf.get(stream) ?? -1n)) {
      snapshotSeqOf.set(stream, seq);
    }
    const best = snapshotOf.get(instance);
    // Names of one instance: their byte order is that of their times, then of what follows.
    if (best === undefined || object.name > best.name) {
      snapshotOf.set(instance, object);
    }
  }
  return { timeOf, snapshotOf, snapshotSeqOf };
}
