import assert from 'node:assert';
import { errorText, SyncError, type ErrorCode } from '../../protocol/errors.ts';
import type { ObjectName } from '../../protocol/object-name.ts';
import { discardSpool, readSpool, writeSpool, type Spool } from '../spool.ts';
import { Semaphore, type EngineLimits, type Limit } from '../pacing/semaphore.ts';
import { identify } from './proof/identify.ts';
import type { EngineDeps } from './types.ts';
import type { Absorbed, VectorTracker } from './vector-tracker.ts';

/** Errors that say "these bytes", not "this moment". */
const BAD_OBJECT_CODES: ReadonlySet<ErrorCode> = new Set([
  'SNAPSHOT_CORRUPT',
  'SNAPSHOT_INCOMPATIBLE',
  'SNAPSHOT_OTHER_MODE',
  'SNAPSHOT_REJECTED',
  'SNAPSHOT_DBIS_EXCEED',
]);

/** An object whose bytes are here, whose Meta fits its name, and which is ready to be merged. */
export type Fetched = {
  readonly object: ObjectName;
  readonly spool: Spool;
  readonly sizeBytes: number;
  readonly etag: string;
  readonly absorbed: Absorbed;
  /** Of a part of a published state: what the manifest says that it covers, instead of what its Meta says. */
  readonly published?: Absorbed | undefined;
  /** These bytes come from a second reading: found damaged, they are not read a third time. */
  readonly isSecond: boolean;
  /** Gives the memory back; must be called whatever became of the object. Idempotent. */
  release(): Promise<void>;
};

/** Of the pages in use, the part that must have become free before a refused object is tried again. */
const FREED_PART = 1 / 32;

export type FetchResult =
  | { readonly kind: 'fetched'; readonly fetched: Fetched }
  | { readonly kind: 'missing' }
  | { readonly kind: 'quarantined' };

/**
 * Fetches objects and merges them into the local LMDB, one merge at a time, and moves the vector where that is
 * sound. Damaged objects are quarantined here: found damaged at two readings in a row, they are left alone until
 * the etag changes or the agent restarts, and never stop anything else.
 *
 * Why nobody waits here for ever. An object holds one place of `memory` from before its fetch to its end, and a second
 * reading keeps that place. Whoever holds a place therefore waits for the storage, for the LMDB, or for the turn to
 * merge; who has the turn waits for no place. Objects that were fetched ahead wait, holding their places, for the
 * first of them. Places are given in the order in which they were asked for, and the first one asked first: when the
 * others hold theirs, it holds its own. So it comes to its end, and after it the next, with any number of places and
 * any read-ahead.
 */
export class ObjectMerger {
  readonly #deps: EngineDeps;
  readonly #tracker: VectorTracker;
  readonly #memory: Limit;
  readonly #turn: Limit;
  readonly #onLooked: () => void;
  readonly #onIdle: () => void;
  /** Of each quarantined object the etag of the bytes that were bad, and why. */
  readonly #quarantined = new Map<string, { readonly etag: string; readonly error: SyncError }>();
  /** Name of each object that the map had no room for; "tries": it is to be tried again. */
  readonly #refused = new Map<string, { etag: string; error: SyncError; tries: boolean }>();
  /** As of the last refusal. */
  #roomAtRefusal: { readonly mapSizeBytes: number; readonly usedPages: number } | undefined;
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
    const bad = this.#quarantined.get(name)?.etag;
    return bad !== undefined && bad === etag;
  }

  /** Why an object is quarantined; undefined: it is not. */
  quarantineReason(name: string): SyncError | undefined {
    return this.#quarantined.get(name)?.error;
  }

  /** True while there is no use in fetching the bytes of this etag: they are bad, or have no room. */
  isLeftOut(name: string, etag: string | undefined): boolean {
    const hasNoRoom = this.hasNoRoomFor(name) && this.#refused.get(name)?.etag === etag;
    return hasNoRoom || this.isQuarantined(name, etag);
  }

  /** True while the map has no more room than when the object of this name was refused. */
  hasNoRoomFor(name: string): boolean {
    return this.#refused.get(name)?.tries === false;
  }

  /** True while an object waits for room in the map. */
  get isShortOfRoom(): boolean {
    return this.#refused.size > 0;
  }

  /** Throws the reason why an object is left out for want of room, if one is. */
  requireRoom(): void {
    for (const { error } of this.#refused.values()) {
      throw error;
    }
  }

  /** Whether the map has more room than when an object was refused; what was is tried again then. */
  async hasRoomAgain(): Promise<boolean> {
    const before = this.#roomAtRefusal;
    if (before === undefined || !this.isShortOfRoom) {
      return false;
    }
    const now = await this.#look();
    const freed = (before.usedPages - now.usedPages) / Math.max(1, before.usedPages);
    if (now.mapSizeBytes <= before.mapSizeBytes && freed < FREED_PART) {
      return false;
    }
    this.#roomAtRefusal = undefined;
    for (const refused of this.#refused.values()) {
      refused.tries = true;
    }
    return true;
  }

  get quarantinedNames(): ReadonlySet<string> {
    return new Set(this.#quarantined.keys());
  }

  /** Forgets quarantined objects that are gone or whose content has come in another way. */
  releaseExcept(keep: (name: string, etag: string) => boolean): void {
    const refused = [...this.#refused].map(([name, { etag }]) => [name, etag] as const);
    const bad = [...this.#quarantined].map(([name, { etag }]) => [name, etag] as const);
    for (const [name, etag] of [...bad, ...refused]) {
      if (keep(name, etag)) {
        continue;
      }
      this.#quarantined.delete(name);
      this.#refused.delete(name);
      this.#deps.observer.released(name);
    }
  }

  /** Gets the object's bytes into a spool. Rejects (retryable) when the storage fails. */
  async fetch(object: ObjectName, signal: AbortSignal): Promise<FetchResult> {
    const leave = await this.#memory.acquire(signal);
    try {
      const result = await this.#fetchHolding(object, { leave, signal });
      if (result.kind !== 'fetched') {
        leave();
      }
      return result;
    } catch (error) {
      leave();
      throw error;
    }
  }

  /** As {@link fetch}, for who has a place already. Without a fetched object the place is still the caller's. */
  async #fetchHolding(
    object: ObjectName,
    { leave, signal }: { readonly leave: () => void; readonly signal: AbortSignal },
  ): Promise<FetchResult> {
    const first = await this.#read(object, { leave, signal, isSecond: false });
    return first === 'damaged' ? this.#readAgain(object, { leave, signal }) : first;
  }

  /** The bytes may have been hurt on the way: only those that are bad twice count as damaged. */
  async #readAgain(
    object: ObjectName,
    { leave, signal }: { readonly leave: () => void; readonly signal: AbortSignal },
  ): Promise<FetchResult> {
    const second = await this.#read(object, { leave, signal, isSecond: true });
    assert(second !== 'damaged', 'damaged twice is quarantined');
    return second;
  }

  async #read(
    object: ObjectName,
    options: {
      readonly leave: () => void;
      readonly signal: AbortSignal;
      readonly isSecond: boolean;
    },
  ): Promise<FetchResult | 'damaged'> {
    const { leave, signal, isSecond } = options;
    const got = await this.#load(object, signal);
    if (got === undefined) {
      return { kind: 'missing' };
    }
    const { spool, sizeBytes, etag } = got;
    try {
      const { clock, sweeping } = this.#deps;
      const absorbed = await identify(object, () => readSpool(spool), {
        nowNs: clock.nowNs(),
        retentionMs: sweeping?.settings.retentionMs,
      });
      const release = async () => {
        leave();
        await discardSpool(spool);
      };
      const fetched = { object, spool, sizeBytes, etag, absorbed, isSecond, release };
      return { kind: 'fetched', fetched };
    } catch (error) {
      await discardSpool(spool);
      if (error instanceof SyncError && BAD_OBJECT_CODES.has(error.code)) {
        return this.#suspect({ object, etag, isSecond }, error);
      }
      throw error;
    }
  }

  /** The object's bytes; undefined: it is gone. */
  async #load(
    object: ObjectName,
    signal: AbortSignal,
  ): Promise<Pick<Fetched, 'spool' | 'sizeBytes' | 'etag'> | undefined> {
    const { store, settings, observer } = this.#deps;
    try {
      const got = await store.get(object.name, { signal });
      if (got === undefined) {
        return undefined;
      }
      const { sizeBytes, etag } = got;
      const spool = await writeSpool(got.body, {
        memoryBytes: settings.spoolMemoryBytes,
        folder: settings.spoolFolder,
      });
      observer.loaded(object.name, sizeBytes);
      return { spool, sizeBytes, etag };
    } catch (error) {
      if (!signal.aborted) {
        observer.loadFailed(object, error);
      }
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
    const { object, spool, sizeBytes } = fetched;
    const absorbed = fetched.published ?? fetched.absorbed;
    const startedNs = clock.nowNs();
    try {
      // Known before the merge is in: uploads stop, where this host must rejoin first.
      this.#tracker.noteRejoinBefore(absorbed.rejoinBeforeNs ?? 0n);
      const change = this.#tracker.preview([absorbed]);
      const { vector, emptied, rejoinBeforeNs } = change;
      const result = await db.merge({ name: object.name, spool, vector, emptied, rejoinBeforeNs });
      this.#onLooked();
      if (result.isStale === true) {
        throw new SyncError(
          'TRANSACTION_FAILED',
          `${object.name} is not merged: the vector was emptied`,
          {
            retryable: true,
          },
        );
      }
      this.#tracker.absorb([absorbed]);
      this.#refused.delete(object.name);
      this.#tracker.noteSent({ ...change, dropped: [], forgetsWas: false });
      observer.stepWorked('merge', object.name);
      observer.merged({
        object,
        result,
        sizeBytes,
        totalMs: Number(clock.nowNs() - startedNs) / 1e6,
      });
      return 'merged';
    } catch (error) {
      if (error instanceof SyncError && BAD_OBJECT_CODES.has(error.code)) {
        return await this.#mergeAgain(fetched, { error, signal });
      }
      if (error instanceof SyncError && error.code === 'MAP_TOO_SMALL') {
        this.#refused.set(object.name, { etag: fetched.etag, error, tries: false });
        this.#roomAtRefusal = await this.#look();
        observer.refused(object, error);
        throw error;
      }
      if (!signal.aborted) {
        observer.stepFailed('merge', error, object.name);
      }
      throw error;
    }
  }

  async #look(): Promise<{ readonly mapSizeBytes: number; readonly usedPages: number }> {
    const { mapSizeBytes, dbis } = await this.#deps.db.stats();
    const usedPages = dbis.reduce(
      (sum, dbi) => sum + dbi.branchPages + dbi.leafPages + dbi.overflowPages,
      0,
    );
    return { mapSizeBytes, usedPages };
  }

  /** The bytes turned out to be bad: another reading of them is merged, in the place of the first. */
  async #mergeAgain(
    fetched: Fetched,
    { error, signal }: { readonly error: SyncError; readonly signal: AbortSignal },
  ): Promise<'merged' | 'quarantined'> {
    const { object, published } = fetched;
    if (this.#suspect(fetched, error) !== 'damaged') {
      return 'quarantined';
    }
    // The place stays with the object: one that had to wait for another would wait for those behind it.
    await discardSpool(fetched.spool);
    const again = await this.#readAgain(object, { leave: noop, signal });
    if (again.kind === 'quarantined') {
      return 'quarantined';
    }
    if (again.kind === 'missing') {
      const gone = `${object.name} went away before it was read again`;
      const missing = new SyncError('STORAGE_FAILED', gone, { retryable: true });
      this.#deps.observer.loadFailed(object, missing);
      throw missing;
    }
    try {
      return await this.#mergeNow({ ...again.fetched, published }, signal);
    } finally {
      await again.fetched.release();
    }
  }

  /** "damaged": it is to be read once more. */
  #suspect(
    { object, etag, isSecond }: Pick<Fetched, 'object' | 'etag' | 'isSecond'>,
    error: SyncError,
  ): 'damaged' | { readonly kind: 'quarantined' } {
    if (error.code === 'SNAPSHOT_CORRUPT' && !isSecond) {
      this.#deps.log.debug(
        { snapshot: object.name, error: errorText(error) },
        'object looks damaged, fetching it once more',
      );
      return 'damaged';
    }
    this.#quarantined.set(object.name, { etag, error });
    this.#deps.observer.quarantined(object, error);
    return { kind: 'quarantined' };
  }
}

function noop(): void {}
