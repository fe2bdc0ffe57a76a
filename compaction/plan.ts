import type { Manifest } from '../protocol/manifest.ts';
import { MAX_INSTANCE_STREAMS, MAX_VECTOR_STREAMS } from '../protocol/limits.ts';
import {
  type InstanceId,
  type StreamId,
  instanceOfStream,
  parseObjectName,
} from '../protocol/object-name.ts';
import type { TimestampNs } from '../protocol/time.ts';
import { EMPTY_VECTOR, type VersionVector, covers } from '../protocol/version-vector.ts';
import { Claims } from './claims.ts';
import { LEVEL1_GROWTH } from './limits.ts';
import type { SortedListing, StoredObject } from './listing.ts';
import type { CompactionPolicy } from './policy.ts';

/** What a run reads, in order. */
export type TailPlan = {
  /** Full snapshots, newest first: each is skipped if one before it covers it. */
  readonly snapshots: readonly StoredObject[];
  /** Marked ones, ascending by number: what they follow is read first, and then they add nothing. */
  readonly marked: readonly StoredObject[];
  /** Deltas, stream by stream, ascending; also those above a gap. */
  readonly deltas: readonly StoredObject[];
  /** Compressed bytes of all of them. */
  readonly bytes: number;
  /** Names of planned objects that share stream and number with another one: both are read. */
  readonly doubles: ReadonlySet<string>;
  /** Objects that came back from the dead: see `Manifest.droppedNs`. They are left alone. */
  readonly setAside: readonly StoredObject[];
  /** Of each instance that has more streams than are taken, the first object that is left alone. */
  readonly overLimit: readonly LeftAlone[];
  /** Nothing that is uncovered was left out but what is set aside. */
  readonly isWhole: boolean;
};

/** An object that this run does not fold, and why. */
export type LeftAlone = { readonly name: string; readonly reason: string };

/** The level at which a run writes: the whole state, only what is new, or nothing. */
export type FoldLevel = 'base' | 'level1' | 'none';

/** Chooses from the objects that the published state does not cover those that a run reads, at most as many as allowed. */
export function planTail(
  listing: SortedListing,
  published: Pick<Manifest, 'vector' | 'droppedNs'> | undefined,
  policy: CompactionPolicy,
): TailPlan {
  const { vector = EMPTY_VECTOR, droppedNs = 0n } = published ?? {};
  const streams = new StreamLimit(vector);
  const setAside: StoredObject[] = [];
  const isTaken = (object: StoredObject): boolean => {
    if (covers(vector, object)) {
      return false;
    }
    if (object.timeNs <= droppedNs) {
      setAside.push(object);
      return false;
    }
    return streams.admits(object);
  };
  const full = listing.snapshots.filter(isTaken);
  const snapshots = full.filter(({ marked }) => !marked);
  const marked = full
    .filter((object) => object.marked)
    .toSorted((a, b) => (a.seq < b.seq ? -1 : 1));
  const deltas = [...listing.deltas.values()].flatMap((objects) => objects.filter(isTaken));
  const room = Math.max(policy.foldObjectsMax - snapshots.length, 0);
  const planned = {
    snapshots: snapshots.slice(0, policy.foldObjectsMax),
    deltas: deltas.slice(0, room),
  };
  const taken = [...planned.snapshots, ...planned.deltas];
  const overLimit = [...streams.refused.values()];
  return {
    ...planned,
    marked,
    bytes: [...taken, ...unreadMarked(marked, taken, vector)].reduce(
      (sum, object) => sum + object.sizeBytes,
      0,
    ),
    doubles: doublesOf([...taken, ...marked]),
    setAside,
    overLimit,
    isWhole:
      !listing.truncated &&
      overLimit.length === 0 &&
      taken.length === snapshots.length + deltas.length,
  };
}

/** Marked ones that must be read, as far as names tell: a number below them is neither covered nor listed. */
function unreadMarked(
  marked: readonly StoredObject[],
  others: readonly StoredObject[],
  vector: VersionVector,
): StoredObject[] {
  const claims = new Claims({ vector });
  const bySeq = [...others].toSorted((a, b) => (a.seq < b.seq ? -1 : 1));
  for (const object of bySeq) {
    if (object.kind === 'delta') {
      claims.readDelta(object);
    } else {
      claims.readFull(object);
    }
  }
  return marked.filter((object) => !claims.covers(object) && !claims.passOver(object));
}

/** What one instance may put into a vector that everybody reads: so many streams, and no more. */
class StreamLimit {
  readonly #known: Set<StreamId>;
  readonly #ofInstance = new Map<InstanceId, number>();
  /** By instance. */
  readonly refused = new Map<InstanceId, LeftAlone>();

  constructor(vector: VersionVector) {
    this.#known = new Set(vector.keys());
    for (const stream of vector.keys()) {
      this.#count(instanceOfStream(stream));
    }
  }

  admits({ stream, instance, name }: StoredObject): boolean {
    if (this.#known.has(stream)) {
      return true;
    }
    const isFull = this.#known.size >= MAX_VECTOR_STREAMS;
    if (isFull || (this.#ofInstance.get(instance) ?? 0) >= MAX_INSTANCE_STREAMS) {
      if (!this.refused.has(instance)) {
        this.refused.set(instance, { name, reason: tooManyStreams(instance, isFull) });
      }
      return false;
    }
    this.#known.add(stream);
    this.#count(instance);
    return true;
  }

  #count(instance: InstanceId): void {
    this.#ofInstance.set(instance, (this.#ofInstance.get(instance) ?? 0) + 1);
  }
}

function tooManyStreams(instance: string, isFull: boolean): string {
  return isFull
    ? `the instances of this database have ${MAX_VECTOR_STREAMS} streams, more are not taken`
    : `instance ${instance} has ${MAX_INSTANCE_STREAMS} streams, more are not taken; see why it starts so often`;
}

/** Objects of a copied machine may share a number: neither says anything of the other. */
function doublesOf(objects: readonly StoredObject[]): ReadonlySet<string> {
  const first = new Map<string, string>();
  const doubles = new Set<string>();
  for (const { name, stream, seq } of objects) {
    const place = `${stream}/${seq}`;
    const other = first.get(place);
    if (other === undefined) {
      first.set(place, name);
    } else {
      doubles.add(other).add(name);
    }
  }
  return doubles;
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
