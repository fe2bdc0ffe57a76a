import { errorText, SyncError } from '../../protocol/errors.ts';
import { requireMatchingMeta } from '../../protocol/delta.ts';
import type { ObjectName } from '../../protocol/object-name.ts';
import { readSnapshotHead } from '../../protocol/snapshot-reader.ts';
import { discardSpool, readSpool, writeSpool, type Spool } from '../spool.ts';
import { Semaphore, type EngineLimits, type Limit } from '../pacing/semaphore.ts';
import type { EngineDeps } from './types.ts';
import type { Absorbed, VectorTracker } from './vector-tracker.ts';

/** An object whose bytes are here, whose Meta fits its name, and which is ready to be merged. */
export type Fetched = {
  readonly object: ObjectName;
  readonly spool: Spool;
  readonly sizeBytes: number;
  readonly etag: string;
  readonly absorbed: Absorbed;
  /** Gives the memory back; must be called whatever became of the object. Idempotent. */
  release(): Promise<void>;
};

export type FetchResult =
  | { readonly kind: 'fetched'; readonly fetched: Fetched }
  | { readonly kind: 'missing' }
  | { readonly kind: 'quarantined' };

/**
 * Fetches objects and merges them into the local LMDB, one merge at a time, and moves the vector where that is
 * sound. Damaged objects are quarantined here: found damaged twice with the same etag, they are left alone until
 * the etag changes or the agent restarts, and never stop anything else.
 */
export class ObjectMerger {
  readonly #deps: EngineDeps;
  readonly #tracker: VectorTracker;
  readonly #memory: Limit;
  readonly #turn: Limit;
  readonly #onLooked: () => void;
  readonly #onIdle: () => void;
  /** Name of each quarantined object and the etag of the bytes that were bad. */
  readonly #quarantined = new Map<string, string>();
  #merging: Promise<unknown> = Promise.resolve();
  #running = 0;

  constructor(
    deps: EngineDeps,
    parts: {
      tracker: VectorTracker;
      limits: EngineLimits;
      /** A merge has looked at the LMDB first: what it found is to be sent. */
      onLooked: () => void;
      /** No merge is under way any more, whatever became of the last one. */
      onIdle: () => void;
    },
  ) {
    this.#deps = deps;
    this.#tracker = parts.tracker;
    this.#memory = parts.limits.memory;
    this.#turn = parts.limits.merging ?? new Semaphore(1);
    this.#onLooked = parts.onLooked;
    this.#onIdle = parts.onIdle;
  }

  /** True while the bytes of this etag are known to be bad. */
  isQuarantined(name: string, etag: string | undefined): boolean {
    const bad = this.#quarantined.get(name);
    return bad !== undefined && bad === etag;
  }

  get quarantinedNames(): ReadonlySet<string> {
    return new Set(this.#quarantined.keys());
  }

  /** Forgets quarantined objects that are gone or whose content has come in another way. */
  releaseExcept(keep: (name: string) => boolean): void {
    for (const name of this.#quarantined.keys()) {
      if (keep(name)) {
        continue;
      }
      this.#quarantined.delete(name);
      this.#deps.observer.released(name);
    }
  }

  /** Gets the object's bytes into a spool. Rejects (retryable) when the storage fails. */
  async fetch(object: ObjectName, signal: AbortSignal): Promise<FetchResult> {
    try {
      return await this.#fetch(object, signal);
    } catch (error) {
      if (!signal.aborted) {
        this.#deps.observer.loadFailed(object, error);
      }
      throw error;
    }
  }

  async #fetch(object: ObjectName, signal: AbortSignal): Promise<FetchResult> {
    const { store, settings, observer } = this.#deps;
    const releaseMemory = await this.#memory.acquire(signal);
    try {
      const got = await store.get(object.name, { signal });
      if (got === undefined) {
        releaseMemory();
        return { kind: 'missing' };
      }
      const spool = await writeSpool(got.body, {
        memoryBytes: settings.spoolMemoryBytes,
        folder: settings.spoolFolder,
      });
      const { sizeBytes, etag } = got;
      observer.loaded(object.name, sizeBytes);
      let released = false;
      const release = async () => {
        if (released) {
          return;
        }
        released = true;
        releaseMemory();
        await discardSpool(spool);
      };
      try {
        const absorbed = await this.#identify(object, spool);
        return { kind: 'fetched', fetched: { object, spool, sizeBytes, etag, absorbed, release } };
      } catch (error) {
        await release();
        if (error instanceof SyncError && isBadObject(error)) {
          return await this.#suspect(object, { etag, error, signal });
        }
        throw error;
      }
    } catch (error) {
      releaseMemory();
      throw error;
    }
  }

  /**
   * Merges fetched objects' content. "quarantined": its bytes are bad, nothing of it was applied. Rejects when the
   * LMDB cannot take it now (map full, ...); the vector has not moved then.
   */
  async merge(fetched: Fetched, signal: AbortSignal): Promise<'merged' | 'quarantined'> {
    this.#running += 1;
    const merged = this.#mergeInTurn(fetched, signal);
    this.#merging = Promise.allSettled([this.#merging, merged]);
    try {
      return await merged;
    } finally {
      this.#running -= 1;
      if (this.#running === 0) {
        this.#onIdle();
      }
    }
  }

  /** A merge is under way: what it commits is no change of the application. */
  get isMerging(): boolean {
    return this.#running > 0;
  }

  /** Resolves when no merge is running. */
  async settled(): Promise<void> {
    await this.#merging;
  }

  async #mergeInTurn(fetched: Fetched, signal: AbortSignal): Promise<'merged' | 'quarantined'> {
    const done = await this.#turn.acquire(signal);
    try {
      return await this.#mergeNow(fetched, signal);
    } finally {
      done();
    }
  }

  async #mergeNow(fetched: Fetched, signal: AbortSignal): Promise<'merged' | 'quarantined'> {
    signal.throwIfAborted();
    const { db, observer, clock } = this.#deps;
    const { object, spool, absorbed, sizeBytes } = fetched;
    const startedNs = clock.nowNs();
    try {
      const vector = this.#tracker.preview([absorbed]);
      // Known before the merge is in: uploads stop, where this host must rejoin first.
      this.#tracker.noteRejoinBefore(absorbed.rejoinBeforeNs ?? 0n);
      const { rejoinBeforeNs } = this.#tracker;
      const result = await db.merge({ name: object.name, spool, vector, rejoinBeforeNs });
      this.#onLooked();
      if (result.detection.vectorForgotten) {
        throw new SyncError(
          'TRANSACTION_FAILED',
          `${object.name} is not merged: the vector was emptied`,
          {
            retryable: true,
          },
        );
      }
      this.#tracker.absorb([absorbed]);
      observer.stepWorked('merge', object.name);
      observer.merged({
        object,
        result,
        sizeBytes,
        totalMs: Number(clock.nowNs() - startedNs) / 1e6,
      });
      return 'merged';
    } catch (error) {
      if (error instanceof SyncError && isBadObject(error)) {
        // Fetched once more before it counts as damaged: the bytes may have been hurt on the way. Its memory
        // is given back first, or two of these could wait for each other's place for ever.
        await fetched.release();
        const again = await this.#suspect(object, { etag: fetched.etag, error, signal });
        if (again.kind !== 'fetched') {
          return 'quarantined';
        }
        try {
          return await this.#mergeNow(again.fetched, signal);
        } finally {
          await again.fetched.release();
        }
      }
      if (!signal.aborted) {
        observer.stepFailed('merge', error, object.name);
      }
      throw error;
    }
  }

  readonly #suspects = new Map<string, string>();

  /** First time: fetch again. Second time with the same etag: quarantine. */
  async #suspect(
    object: ObjectName,
    { etag, error, signal }: { etag: string; error: SyncError; signal: AbortSignal },
  ): Promise<FetchResult> {
    const damaged = error.code === 'SNAPSHOT_CORRUPT';
    if (damaged && this.#suspects.get(object.name) !== etag) {
      this.#suspects.set(object.name, etag);
      this.#deps.log.debug(
        { snapshot: object.name, error: errorText(error) },
        'object looks damaged, fetching it once more',
      );
      return this.#fetch(object, signal);
    }
    this.#suspects.delete(object.name);
    this.#quarantined.set(object.name, etag);
    this.#deps.observer.quarantined(object, error);
    return { kind: 'quarantined' };
  }

  /** Reads the Meta, checks it against the name, and says how the vector may move. */
  async #identify(object: ObjectName, spool: Spool): Promise<Absorbed> {
    const { stream, seq } = object;
    // Upstream's Meta decides nothing: the name does. Its snapshot is the whole of its stream up to then.
    if (!object.ours) {
      return { stream, seq, vector: new Map([[stream, seq]]) };
    }
    const { meta } = await readSnapshotHead(readSpool(spool));
    // A copied or renamed object must not move the vector of a stream that it does not belong to.
    requireMatchingMeta(object, meta);
    return { stream, seq, vector: meta.vector, rejoinBeforeNs: meta.rejoinBeforeNs };
  }
}

/** Errors that say "these bytes", not "this moment". */
function isBadObject(error: SyncError): boolean {
  return (
    error.code === 'SNAPSHOT_CORRUPT' ||
    error.code === 'SNAPSHOT_INCOMPATIBLE' ||
    error.code === 'SNAPSHOT_REJECTED' ||
    error.code === 'SNAPSHOT_DBIS_EXCEED'
  );
}
