import type { Manifest } from '../protocol/manifest.ts';
import type { StreamId } from '../protocol/object-name.ts';
import { type StreamPosition, type VersionVector, covers } from '../protocol/version-vector.ts';
import type { StoredObject } from './listing.ts';

/** What a state that is to be published covers. */
export type ClaimedState = {
  readonly vector: VersionVector;
  /** See `Manifest.assumed`. */
  readonly assumed: ReadonlySet<StreamId>;
};

/**
 * What the state of a run covers: that of the published state, and what this run has read itself. What objects say of
 * other streams is not believed, or one of them could have everybody's objects deleted unread.
 *
 * It changes while the run reads: a claim costs the same however many streams there are.
 */
export class Claims {
  readonly #vector: Map<StreamId, bigint>;
  readonly #assumed: Set<StreamId>;
  /** Numbers that were read above a gap. */
  readonly #ahead = new Map<StreamId, Set<bigint>>();

  constructor(published?: Pick<Manifest, 'vector' | 'assumed'>) {
    this.#vector = new Map(published?.vector);
    this.#assumed = new Set(published?.assumed);
  }

  /** A copy: it stays as it is. */
  get state(): ClaimedState {
    return { vector: new Map(this.#vector), assumed: new Set(this.#assumed) };
  }

  covers(position: StreamPosition): boolean {
    return covers(this.#vector, position);
  }

  /** A full snapshot was read: all of its stream up to it, and nothing else. */
  readFull({ stream, seq }: StreamPosition): void {
    this.#assumed.delete(stream);
    this.#raise(stream, seq);
  }

  /** A delta was read. It counts behind its predecessor; above a gap it waits for that to close. */
  readDelta({ stream, seq }: StreamPosition): void {
    const reached = this.#vector.get(stream) ?? 0n;
    if (seq === reached + 1n) {
      this.#raise(stream, seq);
    } else if (seq > reached) {
      this.#ahead.set(stream, (this.#ahead.get(stream) ?? new Set()).add(seq));
    }
  }

  /** True for a marked full snapshot that adds nothing to what is covered: it need not be read. */
  passOver({ stream, seq, marked }: StoredObject): boolean {
    const adds = !marked || (this.#vector.get(stream) ?? 0n) < seq - 1n;
    if (!adds) {
      this.#raise(stream, seq);
    }
    return !adds;
  }

  /**
   * All objects of a listing were read or covered. Whatever number is not listed any more was deleted because a stored
   * full state held it, and that was read: so each stream counts up to its highest number.
   */
  closeGaps(listed: Iterable<StoredObject>): void {
    for (const { stream, seq } of listed) {
      if (!this.covers({ stream, seq })) {
        this.#raise(stream, seq);
        this.#assumed.add(stream);
      }
    }
  }

  #raise(stream: StreamId, seq: bigint): void {
    let reached = this.#vector.get(stream) ?? 0n;
    if (seq > reached) {
      reached = seq;
    }
    const ahead = this.#ahead.get(stream);
    while (ahead?.delete(reached + 1n) === true) {
      reached += 1n;
    }
    this.#vector.set(stream, reached);
  }
}
