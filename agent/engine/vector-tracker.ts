import type { ObjectName, StreamId } from '../../protocol/object-name.ts';
import { isBasePosition, ownPlaces } from '../../protocol/manifest.ts';
import {
  EMPTY_VECTOR,
  covers,
  joinVectors,
  type VersionVector,
} from '../../protocol/version-vector.ts';

/** What of an object decides how the vector moves: a delta has no vector of its own, a full state has. */
export type Absorbed = Pick<ObjectName, 'stream' | 'seq'> & {
  readonly vector?: VersionVector | undefined;
  /** What a full state says of tombstones that it lacks; see `SnapshotMeta`. */
  readonly rejoinBeforeNs?: bigint | undefined;
};

/** What the LMDB's side does not know yet of the vector. */
export type VectorChange = {
  /** Positions that rose. */
  readonly vector: VersionVector;
  /** Streams that are over. */
  readonly dropped: readonly StreamId[];
  /** How often the LMDB's side has emptied it, as far as this run knows. */
  readonly emptied: number;
  readonly rejoinBeforeNs: bigint;
  readonly droppedNs: bigint;
  /** See {@link VectorTracker.forgetWas}. */
  readonly forgetsWas: boolean;
};

/**
 * The version vector of the local LMDB, as this run knows it, and the deltas merged above a gap.
 *
 * The rule that matters: the vector says k for a stream only when 1..k are in (the gap rule). A delta that
 * arrives before its predecessor is merged at once but only remembered here, until the gap closes.
 *
 * What a step costs follows what it changes. The vector may hold every start that any agent ever made.
 */
export class VectorTracker {
  readonly #vector: Map<StreamId, bigint>;
  #rejoinBeforeNs = 0n;
  readonly #ahead = new Map<StreamId, Set<bigint>>();
  /** Positions that the LMDB's side does not have yet; undefined: the stream is over. */
  readonly #unsent = new Map<StreamId, bigint | undefined>();
  #emptied = 0;
  #revision = 0;

  /** See {@link known}. */
  #was: VersionVector;
  #forgetsWas = false;
  #droppedNs = 0n;

  readonly #instance: string;

  constructor(
    vector: VersionVector,
    options: { readonly instance?: string; readonly was?: VersionVector } = {},
  ) {
    this.#vector = new Map(vector);
    this.#was = options.was ?? EMPTY_VECTOR;
    this.#instance = options.instance ?? '';
  }

  /** It goes on changing: copy what must stay. */
  get vector(): VersionVector {
    return this.#vector;
  }

  /** Another number after every change. */
  get revision(): number {
    return this.#revision;
  }

  /** The highest that a state merged by this run says. It belongs to the vector and is written with it. */
  get rejoinBeforeNs(): bigint {
    return this.#rejoinBeforeNs;
  }

  /** The vector, and of what it said before it was emptied what was kept: where this host knew its objects to be stored. */
  get known(): VersionVector {
    return this.#was.size === 0 ? this.#vector : joinVectors(this.#was, this.#vector);
  }

  /** How often everything was forgotten: what was found out before does not count. */
  get emptied(): number {
    return this.#emptied;
  }

  /** What is not covered and was named up to this time came back after tombstones were dropped; 0: none were. */
  get droppedNs(): bigint {
    return this.#droppedNs;
  }

  /** What is to be written into the LMDB. {@link noteSent} takes it back when that has it. */
  get change(): VectorChange {
    const vector = new Map<StreamId, bigint>();
    const dropped: StreamId[] = [];
    for (const [stream, seq] of this.#unsent) {
      if (seq === undefined) {
        dropped.push(stream);
      } else {
        vector.set(stream, seq);
      }
    }
    return {
      vector,
      dropped,
      emptied: this.#emptied,
      rejoinBeforeNs: this.#rejoinBeforeNs,
      droppedNs: this.#droppedNs,
      forgetsWas: this.#forgetsWas,
    };
  }

  /** True when the object's content is in the LMDB: it need not be fetched. */
  has(object: Pick<ObjectName, 'stream' | 'seq'>): boolean {
    return covers(this.#vector, object) || this.#ahead.get(object.stream)?.has(object.seq) === true;
  }

  /** True when some number of this object's stream below its own is not in: a listing pass must find it. */
  hasGapBelow(object: Pick<ObjectName, 'stream' | 'seq'>): boolean {
    return (this.#vector.get(object.stream) ?? 0n) < object.seq - 1n;
  }

  /**
   * True, and the vector moves on over it, where the object's name says that it adds nothing to what is in: a marked full
   * snapshot that follows what is in counts like a delta with nothing in it.
   */
  passOver(object: Pick<ObjectName, 'stream' | 'seq' | 'marked'>): boolean {
    if (!object.marked || this.hasGapBelow(object)) {
      return false;
    }
    const { stream, seq } = object;
    this.absorb([{ stream, seq }]);
    return true;
  }

  /** The {@link change} as it will be when these objects are merged; nothing changes yet. */
  preview(objects: readonly Absorbed[]): VectorChange {
    const { vector, ...change } = this.change;
    return { ...change, vector: new Map([...vector, ...this.#advance(objects)]) };
  }

  /** To be called after the merge of these objects is in the LMDB. */
  absorb(objects: readonly Absorbed[]): void {
    for (const [stream, seq] of this.#advance(objects)) {
      this.#raise(stream, seq);
    }
    for (const { stream, seq, vector: own } of objects) {
      const reached = this.#vector.get(stream) ?? 0n;
      const ahead = this.#ahead.get(stream);
      if (own === undefined && seq > reached) {
        this.#ahead.set(stream, (ahead ?? new Set()).add(seq));
      }
    }
  }

  /** To be called before a state that says so is merged: with it comes what it lacks. */
  noteRejoinBefore(rejoinBeforeNs: bigint): void {
    if (rejoinBeforeNs > this.#rejoinBeforeNs) {
      this.#rejoinBeforeNs = rejoinBeforeNs;
      this.#revision += 1;
    }
  }

  /** Tombstones were dropped, here or in a published state. */
  noteDropped(droppedNs: bigint): void {
    if (droppedNs > this.#droppedNs) {
      this.#droppedNs = droppedNs;
      this.#revision += 1;
    }
  }

  /** What the published state covers is in the LMDB, and so is its place. */
  notePublished(vector: VersionVector): void {
    for (const [stream, seq] of vector) {
      this.#raise(stream, seq);
    }
  }

  /**
   * Everything listed was read or covered: a number that is missing below one of these was deleted, because a stored full
   * state held it, and that was read.
   */
  closeGaps(objects: Iterable<Pick<ObjectName, 'stream' | 'seq'>>): void {
    for (const { stream, seq } of objects) {
      this.#raise(stream, seq);
    }
  }

  /**
   * A stored full snapshot holds again whatever was known to be stored. Of the places among published states only that in
   * `current` means anything more, which is stored.
   */
  forgetWas(current: StreamId | undefined): void {
    this.#was = EMPTY_VECTOR;
    this.#forgetsWas = true;
    this.#revision += 1;
    this.prune([...this.#vector.keys()].filter((one) => isBasePosition(one) && one !== current));
  }

  /** The LMDB's side has this change now. What has changed since is still to be sent. */
  noteSent({ vector, dropped, emptied, forgetsWas }: VectorChange): void {
    // It was made before the vector was emptied, and is not true any more.
    if (emptied !== this.#emptied) {
      return;
    }
    this.#forgetsWas &&= !forgetsWas;
    for (const [stream, seq] of vector) {
      if (this.#unsent.get(stream) === seq) {
        this.#unsent.delete(stream);
      }
    }
    for (const stream of dropped) {
      if (this.#unsent.get(stream) === undefined) {
        this.#unsent.delete(stream);
      }
    }
  }

  /** An entry of ours: object `seq` of `stream` was stored (and its content is here, of course). */
  acknowledgeOwn(stream: StreamId, seq: bigint): void {
    this.#raise(stream, seq);
  }

  /** Everything in the bucket is to be merged again: it is another one. */
  forget(): void {
    this.#was = EMPTY_VECTOR;
    this.#clear();
  }

  #clear(): void {
    this.#droppedNs = 0n;
    this.#vector.clear();
    this.#ahead.clear();
    this.#unsent.clear();
    this.#revision += 1;
  }

  /** As {@link forget}: the LMDB's side has found that it must be, and has emptied its own; it keeps the own places. */
  noteEmptied(): void {
    this.#emptied += 1;
    this.#forgetsWas = false;
    this.#was = joinVectors(this.#was, ownPlaces(this.#vector, this.#instance));
    this.#clear();
  }

  prune(streams: Iterable<StreamId>): void {
    for (const stream of streams) {
      this.#ahead.delete(stream);
      if (this.#vector.delete(stream)) {
        this.#unsent.set(stream, undefined);
        this.#revision += 1;
      }
    }
  }

  #raise(stream: StreamId, seq: bigint): void {
    if (seq <= (this.#vector.get(stream) ?? 0n)) {
      return;
    }
    const ahead = this.#ahead.get(stream);
    let reached = seq;
    while (ahead?.has(reached + 1n) === true) {
      reached += 1n;
    }
    this.#vector.set(stream, reached);
    this.#unsent.set(stream, reached);
    this.#revision += 1;
    for (const number of ahead ?? []) {
      if (number <= reached) {
        ahead?.delete(number);
      }
    }
    if (ahead?.size === 0) {
      this.#ahead.delete(stream);
    }
  }

  /** The positions that rise with these objects. */
  #advance(objects: readonly Absorbed[]): Map<StreamId, bigint> {
    const rising = new Map<StreamId, bigint>();
    const deltas = new Map<StreamId, Set<bigint>>();
    const reachedIn = (stream: StreamId) => rising.get(stream) ?? this.#vector.get(stream) ?? 0n;
    for (const { stream, seq, vector: own } of objects) {
      if (own === undefined) {
        deltas.set(stream, (deltas.get(stream) ?? new Set()).add(seq));
        continue;
      }
      for (const [other, reached] of own) {
        if (reached > reachedIn(other)) {
          rising.set(other, reached);
        }
      }
    }
    for (const stream of new Set([...rising.keys(), ...deltas.keys()])) {
      const before = reachedIn(stream);
      let reached = before;
      const has = (seq: bigint) =>
        this.#ahead.get(stream)?.has(seq) === true || deltas.get(stream)?.has(seq) === true;
      while (has(reached + 1n)) {
        reached += 1n;
      }
      if (reached > before) {
        rising.set(stream, reached);
      }
    }
    return rising;
  }
}
