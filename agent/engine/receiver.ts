import { isAbortError, SyncError } from '../../protocol/errors.ts';
import type { Manifest } from '../../protocol/manifest.ts';
import { parseObjectName, type ObjectName, type StreamId } from '../../protocol/object-name.ts';
import { covers, type VersionVector } from '../../protocol/version-vector.ts';
import {
  describeListing,
  doublesOf,
  isCompacted,
  listDatabase,
  objectsNamed,
  passOrder,
  type ListedObject,
  type Listing,
} from './listing.ts';
import type { FetchResult, ObjectMerger } from './object-merger.ts';
import type { PassResult } from './pass-result.ts';
import type { StoredProof } from './proof/stored-proof.ts';
import { isShortOfRoom, PassRestart, PublishedBase } from './published-base.ts';
import type { EngineDeps } from './types.ts';
import type { VectorTracker } from './vector-tracker.ts';

/** A pass that always finds objects gone is chasing somebody who deletes as fast; the next pass goes on. */
const MAX_RESTARTS = 5;

/** An object that was listed for so long has had time for the one before it to be listed: listings lag by seconds. */
const GAP_AGE_NS = 60_000_000_000n;

/**
 * Brings what others stored into the local LMDB: single objects by notice, everything by listing passes.
 *
 * Nothing is believed but the vector: what it covers is skipped, all else is fetched and merged.
 */
export class Receiver {
  readonly #deps: EngineDeps;
  readonly #tracker: VectorTracker;
  readonly #merger: ObjectMerger;
  readonly #ownStream: StreamId;
  readonly #published: PublishedBase;
  readonly #proof: StoredProof;
  readonly #onManifest: (manifest: Manifest) => void;
  readonly #onListed: (seen: Pick<PassResult, 'listing' | 'manifest'>) => void;
  #hasManifest = false;
  /** Objects above a gap, and when they were first listed. */
  #aboveGaps: ReadonlyMap<string, bigint> = new Map();
  /** Names of this pass whose number another object has, too, and which are still to be read. */
  #doubles = new Set<string>();

  constructor(
    deps: EngineDeps,
    parts: {
      tracker: VectorTracker;
      merger: ObjectMerger;
      ownStream: StreamId;
      proof: StoredProof;
      /** Called in every pass that finds one, before anything of it is merged. */
      onManifest?: (manifest: Manifest) => void;
      /** Called in every pass, likewise. */
      onListed?: (seen: Pick<PassResult, 'listing' | 'manifest'>) => void;
    },
  ) {
    this.#deps = deps;
    this.#tracker = parts.tracker;
    this.#merger = parts.merger;
    this.#ownStream = parts.ownStream;
    this.#proof = parts.proof;
    this.#published = new PublishedBase(deps, parts);
    this.#onManifest = parts.onManifest ?? noop;
    this.#onListed = parts.onListed ?? noop;
  }

  /**
   * Merges the named objects, best effort. Returns true when a listing pass is needed: a number below one of
   * them is missing, or one could not be fetched.
   */
  async receiveNames(names: readonly string[], signal: AbortSignal): Promise<boolean> {
    let passNeeded = false;
    for (const object of objectsNamed(names)) {
      const { name } = object;
      if (object.database !== this.#deps.settings.database) {
        continue;
      }
      const isLeftOut = isCompacted(object) || this.#merger.hasNoRoomFor(name);
      if (isLeftOut || this.#isSetAside(object) || !this.#isWanted(object)) {
        continue;
      }
      if (object.marked) {
        // What it follows may be in the bucket, and costs less to read: a pass finds that out.
        passNeeded = true;
        continue;
      }
      if (object.kind === 'delta' && this.#tracker.hasGapBelow(object)) {
        passNeeded = true;
      }
      try {
        const got = await this.#merger.fetch(object, signal);
        if (got.kind === 'missing') {
          passNeeded = true;
        }
        if (got.kind !== 'fetched') {
          continue;
        }
        try {
          await this.#merger.merge(got.fetched, signal);
        } finally {
          await got.fetched.release();
        }
      } catch (error) {
        if (isAbortError(error) || signal.aborted) {
          throw error;
        }
        // The observer knows why; the pass tries it again.
        passNeeded = true;
      }
    }
    return passNeeded;
  }

  /**
   * A listing pass: LIST first, then the manifest, then whatever of both is not covered. `onOwnMerged` is called as
   * soon as no object of our own instance is left to merge. Rejects when the storage cannot be listed.
   */
  async pass(options: { signal: AbortSignal; onOwnMerged?: () => void }): Promise<PassResult> {
    for (let restart = 0; ; restart += 1) {
      try {
        return await this.#passOnce(options);
      } catch (error) {
        if (!(error instanceof PassRestart) || restart >= MAX_RESTARTS) {
          throw error;
        }
        this.#deps.log.debug({}, 'an object went away while it was to be read, listing again');
        this.#published.forgetManifest();
      }
    }
  }

  /** False for what is in; the vector moves on over what adds nothing to that. */
  #isWanted(object: ObjectName): boolean {
    const isOwn = object.stream === this.#ownStream;
    return !isOwn && !this.#tracker.has(object) && !this.#tracker.passOver(object);
  }

  /** It came back after tombstones were dropped that it would have lost against. */
  #isSetAside(object: ObjectName): boolean {
    return (
      this.#hasManifest && object.timeNs <= this.#tracker.droppedNs && !this.#tracker.has(object)
    );
  }

  async #passOnce(options: { signal: AbortSignal; onOwnMerged?: () => void }): Promise<PassResult> {
    const { clock } = this.#deps;
    const { signal } = options;
    const startedNs = clock.nowNs();
    const vectorBefore = new Map(this.#tracker.vector);
    const known = new Map(this.#tracker.known);
    const { emptied } = this.#tracker;
    const { listing, manifest } = await this.#look(signal);
    const base =
      manifest === undefined
        ? 'merged'
        : await this.#published.merge(manifest, { listing, signal });
    const isHole = this.#published.unreadable !== undefined;
    const wanted = this.#wantedOf(listing, vectorBefore);
    const merged = await this.#mergeListed(wanted.objects, options);
    const retry = base === 'failed' || !merged;
    this.#releaseLeftOut(listing, manifest);
    const complete = !retry && !isHole && base === 'merged' && !this.#merger.isShortOfRoom;
    const isStill = emptied === this.#tracker.emptied && wanted.setAside === 0;
    if (complete && isStill && this.#merger.quarantinedNames.size === 0) {
      this.#closeGaps(listing);
    }
    const { seen, unreadable } = this.#published;
    this.#proof.review(seen, this.#tracker.known);
    return {
      complete,
      retry,
      listing,
      manifest,
      base: seen,
      unreadable,
      known,
      proven: this.#proof.provenBy(seen),
      startedNs,
      vectorBefore,
    };
  }

  /** Lists, then reads the manifest: what the listing no longer shows because it was folded is in this one. */
  async #look(
    signal: AbortSignal,
  ): Promise<{ readonly listing: Listing; readonly manifest: Manifest | undefined }> {
    const { settings, store, observer } = this.#deps;
    let listing: Listing;
    let manifest: Manifest | undefined;
    try {
      listing = await listDatabase(store, settings.database, signal);
      manifest = await this.#published.readManifest(listing, signal);
    } catch (error) {
      if (!signal.aborted) {
        observer.listFailed(error);
      }
      throw error;
    }
    observer.listed(describeListing(listing));
    this.#onListed({ listing, manifest });
    this.#hasManifest = manifest !== undefined;
    if (manifest !== undefined) {
      this.#onManifest(manifest);
      this.#tracker.noteDropped(manifest.droppedNs ?? 0n);
    }
    return { listing, manifest };
  }

  /** What is to be read, and how much is left alone because it came back. */
  #wantedOf(
    listing: Listing,
    vectorBefore: VersionVector,
  ): { readonly objects: readonly ListedObject[]; readonly setAside: number } {
    const setAside = listing.objects.filter((object) => this.#isSetAside(object));
    const left = new Set(setAside);
    const others = listing.objects.filter(({ stream }) => stream !== this.#ownStream);
    const doubles = doublesOf(others, vectorBefore);
    this.#doubles = doubles;
    const objects = listing.objects.filter(
      (object) => !left.has(object) && (this.#isWanted(object) || doubles.has(object.name)),
    );
    const [first] = setAside;
    if (first === undefined) {
      this.#deps.observer.stepWorked('old objects');
    } else {
      this.#deps.observer.stepFailed(
        'old objects',
        new SyncError(
          'SNAPSHOT_REJECTED',
          `${setAside.length} objects came back after tombstones were dropped, or have a wrong time: ${first.name}`,
          { hint: 'Set the clock of the host that wrote them, or remove them from the bucket.' },
        ),
      );
    }
    return { objects, setAside: setAside.length };
  }

  #releaseLeftOut(listing: Listing, manifest: Manifest | undefined): void {
    const etags = new Map(listing.bases);
    for (const object of listing.objects) {
      etags.set(object.name, object.etag);
    }
    this.#merger.releaseExcept((name, etag) => {
      const object = parseObjectName(name);
      if (object === undefined) {
        return false;
      }
      const isWanted = listing.bases.has(name)
        ? manifest?.base === name || manifest?.level1.includes(name) === true
        : !this.#tracker.has(object);
      return isWanted && etags.get(name) === etag;
    });
  }

  /**
   * All that is listed is in the LMDB. A number that is missing below another one was deleted then, or the listing began
   * before it was stored: so the other one must have been seen a while ago.
   */
  #closeGaps(listing: Listing): void {
    const nowNs = this.#deps.clock.nowNs();
    const above = listing.objects.filter(
      (object) => object.stream !== this.#ownStream && !covers(this.#tracker.vector, object),
    );
    const seen = this.#aboveGaps;
    this.#aboveGaps = new Map(above.map(({ name }) => [name, seen.get(name) ?? nowNs]));
    this.#tracker.closeGaps(
      above.filter(({ name }) => nowNs - (seen.get(name) ?? nowNs) >= GAP_AGE_NS),
    );
  }

  async #mergeListed(
    wanted: readonly ListedObject[],
    options: { signal: AbortSignal; onOwnMerged?: () => void },
  ): Promise<boolean> {
    const { settings } = this.#deps;
    const { signal } = options;
    const { instance } = settings;
    const queue = passOrder(wanted, { instance, vector: this.#tracker.vector });
    const lastOwn = queue.findLastIndex(({ instance }) => instance === settings.instance);
    const readAhead: { at: number; result: Promise<FetchResult | undefined> }[] = [];
    let next = 0;
    let complete = true;
    let ownMerged = false;
    const reportOwn = (at: number) => {
      if (ownMerged || at <= lastOwn) {
        return;
      }
      ownMerged = true;
      options.onOwnMerged?.();
    };
    try {
      for (;;) {
        while (readAhead.length < settings.downloadConcurrency && next < queue.length) {
          const object = queue[next];
          // Whether it is read is known when what it follows is merged.
          if (object?.marked === true && readAhead.length > 0) {
            break;
          }
          next += 1;
          if (object === undefined || !this.#isStillWanted(object)) {
            continue;
          }
          if (this.#merger.isLeftOut(object.name, object.etag)) {
            continue;
          }
          // A full snapshot may cover what follows: fetching ahead of it could fetch for nothing.
          readAhead.push({ at: next - 1, result: this.#fetchListed(object, signal) });
          if (object.kind === 'snapshot') {
            break;
          }
        }
        const head = readAhead.shift();
        reportOwn(head?.at ?? queue.length);
        if (head === undefined) {
          return complete;
        }
        if (!(await this.#mergeFetched(await head.result, signal))) {
          complete = false;
        }
      }
    } finally {
      await Promise.all(readAhead.map(async ({ result }) => releaseResult(await result)));
    }
  }

  async #mergeFetched(got: FetchResult | undefined, signal: AbortSignal): Promise<boolean> {
    if (got === undefined) {
      return false;
    }
    // Counted as merged it would be lost: somebody folded it, the base has it.
    if (got.kind === 'missing') {
      throw new PassRestart('object');
    }
    if (got.kind === 'quarantined') {
      return true;
    }
    try {
      if (this.#isStillWanted(got.fetched.object)) {
        await this.#merger.merge(got.fetched, signal);
        this.#doubles.delete(got.fetched.object.name);
      }
      return true;
    } catch (error) {
      this.#rethrowIfStopping(error, signal);
      return isShortOfRoom(error);
    } finally {
      await got.fetched.release();
    }
  }

  /** In a pass: of two objects with one number both are read. */
  #isStillWanted(object: ObjectName): boolean {
    return this.#isWanted(object) || this.#doubles.has(object.name);
  }

  /** undefined: the storage failed on this one; the pass goes on and is incomplete. */
  async #fetchListed(object: ObjectName, signal: AbortSignal): Promise<FetchResult | undefined> {
    try {
      return await this.#merger.fetch(object, signal);
    } catch {
      return undefined;
    }
  }

  #rethrowIfStopping(error: unknown, signal: AbortSignal): void {
    if (signal.aborted) {
      throw error;
    }
  }
}

async function releaseResult(result: FetchResult | undefined): Promise<void> {
  if (result?.kind === 'fetched') {
    await result.fetched.release();
  }
}

function noop(): void {}
