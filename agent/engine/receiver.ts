import { isAbortError, SyncError } from '../../protocol/errors.ts';
import type { Manifest } from '../../protocol/manifest.ts';
import { parseObjectName, type ObjectName, type StreamId } from '../../protocol/object-name.ts';
import { isCoveredBy, type VersionVector } from '../../protocol/version-vector.ts';
import { BaseParts } from './base-parts.ts';
import { describeListing, listDatabase, objectsNamed, passOrder } from './listing.ts';
import type { Listing } from './listing.ts';
import type { FetchResult, ObjectMerger } from './object-merger.ts';
import type { PassResult } from './pass-result.ts';
import type { EngineDeps } from './types.ts';
import type { VectorTracker } from './vector-tracker.ts';
import { readManifest } from '../../storage/read-manifest.ts';

/** A pass that always finds objects gone is chasing somebody who deletes as fast; the next pass goes on. */
const MAX_RESTARTS = 5;

class PassRestart extends Error {}

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
  readonly #baseParts: BaseParts;
  readonly #onManifest: (manifest: Manifest) => void;
  readonly #onListed: (seen: Pick<PassResult, 'listing' | 'manifest'>) => void;
  #manifest: { etag: string; manifest: Manifest } | undefined;
  #manifestDamaged = false;

  constructor(
    deps: EngineDeps,
    parts: {
      tracker: VectorTracker;
      merger: ObjectMerger;
      ownStream: StreamId;
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
    this.#baseParts = new BaseParts(deps.store);
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
      const isLeftOut = object.kind === 'base' || this.#merger.hasNoRoomFor(name);
      if (isLeftOut || !this.#isWanted(object)) {
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
        this.#manifest = undefined;
      }
    }
  }

  /** False for what is in; the vector moves on over what adds nothing to that. */
  #isWanted(object: ObjectName): boolean {
    const isOwn = object.stream === this.#ownStream;
    return !isOwn && !this.#tracker.has(object) && !this.#tracker.passOver(object);
  }

  async #passOnce(options: { signal: AbortSignal; onOwnMerged?: () => void }): Promise<PassResult> {
    const { settings, store, clock, observer } = this.#deps;
    const { signal } = options;
    const startedNs = clock.nowNs();
    const vectorBefore = new Map(this.#tracker.vector);
    let listing: Listing;
    let manifest: Manifest | undefined;
    try {
      listing = await listDatabase(store, settings.database, signal);
      // After the listing: what it no longer shows because it was folded is in this manifest.
      manifest = await this.#readManifest(listing, signal);
    } catch (error) {
      if (!signal.aborted) {
        observer.listFailed(error);
      }
      throw error;
    }
    observer.listed(describeListing(listing));
    this.#onListed({ listing, manifest });
    if (manifest !== undefined) {
      this.#onManifest(manifest);
    }

    const base =
      manifest === undefined ? 'merged' : await this.#mergeBase(manifest, listing, signal);
    const merged = await this.#mergeListed(listing, options);
    const retry = base === 'failed' || !merged;
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
    const isWhole = base === 'merged' && !this.#manifestDamaged && !this.#merger.isShortOfRoom;
    const complete = !retry && isWhole;
    return { complete, retry, listing, manifest, startedNs, vectorBefore };
  }

  /**
   * The manifest as of (or after) the listing. Where the listing was a single answer and shows the etag that was
   * read before, nothing can have been folded in between and the GET is saved.
   */
  async #readManifest(listing: Listing, signal: AbortSignal): Promise<Manifest | undefined> {
    const { store, settings, observer } = this.#deps;
    if (listing.singlePage) {
      if (listing.manifestEtag === undefined) {
        this.#noteManifestSound();
        return undefined;
      }
      if (this.#manifest?.etag === listing.manifestEtag) {
        return this.#manifest.manifest;
      }
    }
    try {
      const stored = await readManifest(store, settings.database, signal);
      if (stored === undefined) {
        return undefined;
      }
      const { etag, manifest } = stored;
      this.#manifest = { etag, manifest };
      this.#noteManifestSound();
      return manifest;
    } catch (error) {
      if (!(error instanceof SyncError) || error.code !== 'MESSAGE_INVALID') {
        throw error;
      }
      // One damaged object must not stop the others; but until it is mended no pass counts as complete.
      observer.stepFailed('manifest', error);
      this.#manifestDamaged = true;
      return undefined;
    }
  }

  #noteManifestSound(): void {
    this.#manifestDamaged = false;
    this.#deps.observer.stepWorked('manifest');
  }

  /** Merges the published state unless the vector covers it. */
  async #mergeBase(
    manifest: Manifest,
    listing: Listing,
    signal: AbortSignal,
  ): Promise<'merged' | 'left out' | 'failed'> {
    if (isCoveredBy(manifest.vector, this.#tracker.vector)) {
      return 'merged';
    }
    const names = await this.#missingParts(manifest, signal);
    if (names === undefined) {
      return 'failed';
    }
    for (const [index, name] of names.entries()) {
      const parsed = parseObjectName(name);
      if (parsed === undefined || this.#merger.isLeftOut(name, listing.bases.get(name))) {
        return 'left out';
      }
      // Only with the last part is the state whole; before that the vector must not move.
      const last = index === names.length - 1;
      const got = await this.#fetchListed(parsed, signal);
      if (got === undefined) {
        return 'failed';
      }
      if (got.kind === 'missing') {
        throw new PassRestart('base');
      }
      if (got.kind === 'quarantined') {
        return 'left out';
      }
      const { fetched } = got;
      const vector: VersionVector = last ? manifest.vector : new Map();
      const { rejoinBeforeNs } = manifest;
      const published = { stream: parsed.stream, seq: parsed.seq, vector, rejoinBeforeNs };
      try {
        const merged = await this.#merger.merge({ ...fetched, published }, signal);
        if (merged === 'quarantined') {
          return 'left out';
        }
        if (name === manifest.base) {
          this.#baseParts.note(name, fetched.absorbed.vector);
        }
      } catch (error) {
        this.#rethrowIfStopping(error, signal);
        return isShortOfRoom(error) ? 'left out' : 'failed';
      } finally {
        await fetched.release();
      }
    }
    return 'merged';
  }

  /** undefined: the storage failed. */
  async #missingParts(
    manifest: Manifest,
    signal: AbortSignal,
  ): Promise<readonly string[] | undefined> {
    try {
      const names = await this.#baseParts.missing(manifest, this.#tracker.vector, signal);
      if (names === undefined) {
        throw new PassRestart('base');
      }
      return names;
    } catch (error) {
      if (error instanceof PassRestart || signal.aborted) {
        throw error;
      }
      const base = parseObjectName(manifest.base);
      if (base !== undefined) {
        this.#deps.observer.loadFailed(base, error);
      }
      return undefined;
    }
  }

  async #mergeListed(
    listing: Listing,
    options: { signal: AbortSignal; onOwnMerged?: () => void },
  ): Promise<boolean> {
    const { settings } = this.#deps;
    const { signal } = options;
    const queue = passOrder(
      listing.objects.filter((object) => this.#isWanted(object)),
      { instance: settings.instance, vector: this.#tracker.vector },
    );
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
          if (object === undefined || !this.#isWanted(object)) {
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
      if (this.#isWanted(got.fetched.object)) {
        await this.#merger.merge(got.fetched, signal);
      }
      return true;
    } catch (error) {
      this.#rethrowIfStopping(error, signal);
      return isShortOfRoom(error);
    } finally {
      await got.fetched.release();
    }
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

/** Such an object is known to the merger, which says when it is to be tried again. */
function isShortOfRoom(error: unknown): boolean {
  return error instanceof SyncError && error.code === 'MAP_TOO_SMALL';
}

function noop(): void {}
