import type { ObjectName, StreamId } from '../../protocol/object-name.ts';
import { covers, joinVectors, type VersionVector } from '../../protocol/version-vector.ts';

/** What of an object decides how the vector moves: a delta has no vector of its own, a full state has. */
export type Absorbed = Pick<ObjectName, 'stream' | 'seq'> & {
  readonly vector?: VersionVector | undefined;
  /** What a full state says of tombstones that it lacks; see `SnapshotMeta`. */
  readonly rejoinBeforeNs?: bigint | undefined;
};

/**
 * The version vector of the local LMDB, as this run knows it, and the deltas merged above a gap.
 *
 * The rule that matters: the vector says k for a stream only when 1..k are in (the gap rule). A delta that
 * arrives before its predecessor is merged at once but only remembered here, until the gap closes.
 */
export class VectorTracker {
  #vector: VersionVector;
  #rejoinBeforeNs = 0n;
  readonly #ahead = new Map<StreamId, Set<bigint>>();

  constructor(vector: VersionVector) {
    this.#vector = vector;
  }

  get vector(): VersionVector {
    return this.#vector;
  }

  /** The highest that a state merged by this run says. It belongs to the vector and is written with it. */
  get rejoinBeforeNs(): bigint {
    return this.#rejoinBeforeNs;
  }

  /** What is written into the LMDB. */
  get state(): { readonly vector: VersionVector; readonly rejoinBeforeNs: bigint } {
    return { vector: this.#vector, rejoinBeforeNs: this.#rejoinBeforeNs };
  }

  /** True when the object's content is in the LMDB: it need not be fetched. */
  has(object: Pick<ObjectName, 'stream' | 'seq'>): boolean {
    return covers(this.#vector, object) || this.#ahead.get(object.stream)?.has(object.seq) === true;
  }

  /** True when some number of this object's stream below its own is not in: a listing pass must find it. */
  hasGapBelow(object: Pick<ObjectName, 'stream' | 'seq'>): boolean {
    return (this.#vector.get(object.stream) ?? 0n) < object.seq - 1n;
  }

  /** The vector as it will be when these objects are merged; nothing changes yet. */
  preview(objects: readonly Absorbed[]): VersionVector {
    return this.#advance(objects, false);
  }

  /** To be called after the merge of these objects is in the LMDB. */
  absorb(objects: readonly Absorbed[]): void {
    this.#vector = this.#advance(objects, true);
  }

  /** To be called before a state that says so is merged: with it comes what it lacks. */
  noteRejoinBefore(rejoinBeforeNs: bigint): void {
    if (rejoinBeforeNs > this.#rejoinBeforeNs) {
      this.#rejoinBeforeNs = rejoinBeforeNs;
    }
  }

  /** An entry of ours: object `seq` of `stream` was stored (and its content is here, of course). */
  acknowledgeOwn(stream: StreamId, seq: bigint): void {
    this.#vector = joinVectors(this.#vector, new Map([[stream, seq]]));
  }

  /** Everything in the bucket is to be merged again. */
  forget(): void {
    this.#vector = new Map();
    this.#ahead.clear();
  }

  prune(streams: Iterable<StreamId>): void {
    const next = new Map(this.#vector);
    for (const stream of streams) {
      next.delete(stream);
      this.#ahead.delete(stream);
    }
    this.#vector = next;
  }

  #advance(objects: readonly Absorbed[], commit: boolean): VersionVector {
    let vector = this.#vector;
    const ahead = commit
      ? this.#ahead
      : new Map([...this.#ahead].map(([s, set]) => [s, new Set(set)]));
    for (const { stream, seq, vector: own } of objects) {
      if (own !== undefined) {
        vector = joinVectors(vector, own);
        continue;
      }
      const set = ahead.get(stream) ?? new Set<bigint>();
      set.add(seq);
      ahead.set(stream, set);
    }
    const next = new Map(vector);
    for (const [stream, set] of ahead) {
      let reached = next.get(stream) ?? 0n;
      while (set.has(reached + 1n)) {
        reached += 1n;
      }
      if (reached > 0n) {
        next.set(stream, reached);
      }
      for (const seq of set) {
        if (seq <= reached) {
          set.delete(seq);
        }
      }
      if (set.size === 0) {
        ahead.delete(stream);
      }
    }
    return next;
  }
}
