import { errorText } from '../../protocol/errors.ts';
import {
  instanceOfStream,
  isTimeOrdered,
  parseObjectName,
  type ObjectName,
} from '../../protocol/object-name.ts';
import { isStored } from '../../storage/is-stored.ts';
import {
  covers,
  joinVectors,
  type StreamPosition,
  type VersionVector,
} from '../../protocol/version-vector.ts';
import type { ListedObject } from './listing.ts';
import type { PassResult } from './pass-result.ts';
import type { EngineDeps } from './types.ts';

/** Names of stored objects that are remembered: more than a listing can lag behind. */
const NAMES_MAX = 1000;
/** Objects that one pass asks for; where these are there, the listing lags. */
const ASKED_MAX = 20;

/** What this run has stored, and whether the storage still has it. */
export class OwnObjects {
  readonly #deps: EngineDeps;
  readonly #names = new Map<string, string>();

  constructor(deps: EngineDeps) {
    this.#deps = deps;
  }

  noteStored(position: StreamPosition, name: string): void {
    this.#names.set(keyOf(position), name);
    for (const oldest of this.#names.keys()) {
      if (this.#names.size <= NAMES_MAX) {
        return;
      }
      this.#names.delete(oldest);
    }
  }

  /**
   * True if one of these, which a listing does not show, is gone. Listings of some storages lag by seconds: an object
   * that this run has stored is asked for by its name. Where that fails, the next pass asks again.
   */
  async isOneLost(missing: readonly StreamPosition[], signal: AbortSignal): Promise<boolean> {
    const { store, log } = this.#deps;
    for (const position of missing) {
      const name = this.#names.get(keyOf(position));
      if (name === undefined) {
        return true;
      }
      try {
        if (!(await isStored(store, name, signal))) {
          return true;
        }
      } catch (error) {
        signal.throwIfAborted();
        log.debug({ snapshot: name, error: errorText(error) }, 'cannot ask for an object of ours');
        return false;
      }
    }
    return false;
  }
}

/**
 * What the own full snapshots prove that are stored, for the cleaner and against losses.
 *
 * Who covers the number below a marked one never reads it. So it proves the objects of its own stream, and of other
 * streams only what the last unmarked one of this run covered: that one everybody has read, or its successor.
 */
export class OwnSnapshots {
  readonly #vectors = new Map<string, VersionVector>();
  #unmarked: VersionVector | undefined;

  /** What is covered by each, by its name. */
  get vectors(): ReadonlyMap<string, VersionVector> {
    return this.#vectors;
  }

  /** What the last unmarked one of this run covers; undefined: none is stored. */
  get unmarked(): VersionVector | undefined {
    return this.#unmarked;
  }

  /** `vector`: what its Meta says. */
  noteStored({ name, stream, seq, marked }: ObjectName, vector: VersionVector): void {
    if (marked) {
      const own = new Map([[stream, seq]]);
      this.#vectors.set(
        name,
        this.#unmarked === undefined ? own : joinVectors(this.#unmarked, own),
      );
    } else {
      this.#vectors.set(name, vector);
      this.#unmarked = vector;
    }
  }

  /** What is gone proves nothing any more; what was acknowledged after the listing began is not gone. */
  forgetGone(own: readonly ListedObject[], vectorBefore: VersionVector): void {
    const listed = new Set(own.map(({ name }) => name));
    for (const name of this.#vectors.keys()) {
      const object = parseObjectName(name);
      if (object !== undefined && covers(vectorBefore, object) && !listed.has(name)) {
        this.#vectors.delete(name);
      }
    }
    if (this.#vectors.size === 0) {
      this.#unmarked = undefined;
    }
  }
}

/**
 * Own stored objects that a pass finds nowhere, the newest of each stream first, {@link ASKED_MAX} at most: not listed,
 * in no listed own full snapshot (`fullVectors` has what those cover), not in the manifest. A listing that began before
 * an acknowledgement proves nothing about that object: the vector from before counts.
 */
export function missingOwn(
  own: readonly ListedObject[],
  result: PassResult,
  { instance, fullVectors }: { instance: string; fullVectors: ReadonlyMap<string, VersionVector> },
): StreamPosition[] {
  const missing: StreamPosition[] = [];
  const states: VersionVector[] = [result.proven];
  for (const object of own) {
    if (object.kind !== 'snapshot') {
      continue;
    }
    states.push(fullVectors.get(object.name) ?? new Map([[object.stream, object.seq]]));
  }
  const listed = new Set(own.map((object) => `${object.stream}/${object.seq}`));
  for (const [stream, seq] of result.known) {
    if (instanceOfStream(stream) !== instance) {
      continue;
    }
    let covered = 0n;
    for (const state of states) {
      const reached = state.get(stream) ?? 0n;
      if (reached > covered) {
        covered = reached;
      }
    }
    // An upstream run of this instance numbers by time, and its newest object is the whole of it.
    const first = isTimeOrdered(stream) ? seq : covered + 1n;
    for (let number = seq; number > covered && number >= first; number -= 1n) {
      if (missing.length >= ASKED_MAX) {
        return missing;
      }
      if (!listed.has(`${stream}/${number}`)) {
        missing.push({ stream, seq: number });
      }
    }
  }
  return missing;
}

function keyOf({ stream, seq }: StreamPosition): string {
  return `${stream}/${seq}`;
}
