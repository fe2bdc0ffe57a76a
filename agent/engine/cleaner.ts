import { errorText, SyncError } from '../../protocol/errors.ts';
import type { Manifest } from '../../protocol/manifest.ts';
import type { VersionVector } from '../../protocol/version-vector.ts';
import type { CleanerObserver, CleanerReport, CleanerSettings } from './housekeeping-types.ts';
import { superfluousObjects, type Superfluous } from './cleaning-rule.ts';
import { listDatabase, type Listing } from './listing.ts';
import type { EngineDeps } from './types.ts';
import { readManifest } from '../../storage/read-manifest.ts';

/** Where the cleaner learns which full snapshots this run has stored. */
export interface StoredSnapshots {
  /** Vectors that acknowledged full snapshots of this run were encoded with, by name. */
  readonly fullSnapshots: ReadonlyMap<string, VersionVector>;
}

/** Deletions of one run at most; the next one goes on. */
const MAX_DELETIONS = 50_000;
const DELETE_CONCURRENCY = 8;
const MIN_INTERVAL_MS = 1000;
/** Timers of Node hold no more. */
const MAX_INTERVAL_MS = 2 ** 31 - 1;
/** The published state is remembered this many times per `must_keep`. */
const REMEMBERED_STATES = 8n;

/**
 * Deletes what has become superfluous in the bucket, of all instances of one database; which objects that are says
 * {@link superfluousObjects}. Never the bucket's id, a manifest or what the compactor stored: those are not in the
 * listing that it works on.
 *
 * How long a state has been stored is counted from the first run that found it, so no clock but ours matters.
 */
export class Cleaner {
  readonly #deps: EngineDeps;
  readonly #settings: CleanerSettings;
  readonly #observer: CleanerObserver;
  readonly #stored: StoredSnapshots;
  readonly #snapshotSinceNs = new Map<string, bigint>();
  /** What the published base covered, ascending in time; at most one of them is older than `must_keep`. */
  #published: { readonly vector: VersionVector; readonly sinceNs: bigint }[] = [];
  #denied = false;
  /** Why the last deletion failed that did, in this run. */
  #deleteError: unknown;

  constructor(
    deps: EngineDeps,
    parts: { settings: CleanerSettings; observer: CleanerObserver; stored: StoredSnapshots },
  ) {
    this.#deps = deps;
    this.#settings = parts.settings;
    this.#observer = parts.observer;
    this.#stored = parts.stored;
  }

  /** Cleans again and again until `signal` aborts, or until the storage turns out to allow no deletions. */
  async run(signal: AbortSignal, options: { mayClean: () => boolean }): Promise<void> {
    const { sleep, random, observer, watchdog } = this.#deps;
    const loop = watchdog.loop('clean');
    while (!signal.aborted && !this.#denied) {
      const intervalMs = this.#settings.intervalMs * (0.8 + 0.4 * random());
      const pauseMs = Math.min(Math.max(intervalMs, MIN_INTERVAL_MS), MAX_INTERVAL_MS);
      loop.rests(pauseMs);
      await sleep(pauseMs, signal).catch(() => undefined);
      if (signal.aborted) {
        return;
      }
      if (!options.mayClean()) {
        continue;
      }
      try {
        await loop.during('a run', () => this.clean(signal));
        if (this.#deleteError === undefined) {
          observer.stepWorked('clean');
        } else {
          observer.stepFailed('clean', this.#deleteError);
        }
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        observer.stepFailed('clean', error);
      }
    }
    loop.rests(Number.POSITIVE_INFINITY);
  }

  /** One run. Rejects when the storage cannot be listed, or its manifest not be read; failed deletions only count. */
  async clean(signal: AbortSignal): Promise<CleanerReport> {
    const { store, settings, clock } = this.#deps;
    this.#deleteError = undefined;
    const listing = await this.#list(signal);
    // After the listing, as everywhere: what it names is at least as new.
    const stored = await readManifest(store, settings.database, signal);
    const manifest = stored && isStored(stored.manifest, listing) ? stored.manifest : undefined;
    const nowNs = clock.nowNs();
    const found = superfluousObjects({
      objects: listing.objects,
      instance: settings.instance,
      snapshots: this.#settledSnapshots(listing, nowNs),
      published: this.#settledBase(manifest, nowNs),
      upstreamReaders: settings.upstreamReaders,
      removeOldInstancesMs: this.#settings.removeOldInstancesMs,
      nowNs,
    });
    const outcome = await this.#deleteAll(found.slice(0, MAX_DELETIONS), signal);
    const report = { ...outcome, listed: listing.objects.length };
    // Denied, one warning has said it all.
    if (!this.#denied) {
      this.#observer.finished(report);
    }
    return report;
  }

  async #list(signal: AbortSignal): Promise<Listing> {
    const { store, settings } = this.#deps;
    try {
      const listing = await listDatabase(store, settings.database, signal);
      this.#observer.listed();
      return listing;
    } catch (error) {
      if (!signal.aborted) {
        this.#observer.listFailed(error);
      }
      throw error;
    }
  }

  /** Own full snapshots that are listed, and were `must_keep` ago. */
  #settledSnapshots(listing: Listing, nowNs: bigint): ReadonlyMap<string, VersionVector> {
    const settled = new Map<string, VersionVector>();
    const listed = new Set<string>();
    for (const { name } of listing.objects) {
      const vector = this.#stored.fullSnapshots.get(name);
      if (vector === undefined) {
        continue;
      }
      listed.add(name);
      const sinceNs = this.#snapshotSinceNs.get(name) ?? nowNs;
      this.#snapshotSinceNs.set(name, sinceNs);
      if (this.#isSettled(sinceNs, nowNs)) {
        settled.set(name, vector);
      }
    }
    for (const name of this.#snapshotSinceNs.keys()) {
      if (!listed.has(name)) {
        this.#snapshotSinceNs.delete(name);
      }
    }
    return settled;
  }

  /** What the published base covers, and covered `must_keep` ago. */
  #settledBase(
    manifest: Manifest | undefined,
    nowNs: bigint,
  ): { now: VersionVector; settled: VersionVector } | undefined {
    if (manifest === undefined) {
      this.#published = [];
      return undefined;
    }
    const stepNs = this.#mustKeepNs / REMEMBERED_STATES;
    const last = this.#published.at(-1);
    if (last === undefined || nowNs - last.sinceNs >= stepNs) {
      this.#published.push({ vector: manifest.vector, sinceNs: nowNs });
    }
    const at = this.#published.findLastIndex(({ sinceNs }) => this.#isSettled(sinceNs, nowNs));
    if (at > 0) {
      this.#published.splice(0, at);
    }
    const settled = at < 0 ? undefined : this.#published[0];
    return settled && { now: manifest.vector, settled: settled.vector };
  }

  get #mustKeepNs(): bigint {
    return BigInt(Math.round(this.#settings.mustKeepMs * 1e6));
  }

  #isSettled(sinceNs: bigint, nowNs: bigint): boolean {
    return nowNs - sinceNs >= this.#mustKeepNs;
  }

  async #deleteAll(
    objects: readonly Superfluous[],
    signal: AbortSignal,
  ): Promise<{ deleted: number; failed: number }> {
    let deleted = 0;
    let failed = 0;
    let at = 0;
    const worker = async () => {
      while (at < objects.length && !this.#denied) {
        signal.throwIfAborted();
        const object = objects[at];
        at += 1;
        if (object === undefined) {
          return;
        }
        if (await this.#delete(object, signal)) {
          deleted += 1;
        } else {
          failed += 1;
        }
      }
    };
    await Promise.all(Array.from({ length: DELETE_CONCURRENCY }, worker));
    return { deleted, failed };
  }

  async #delete(superfluous: Superfluous, signal: AbortSignal): Promise<boolean> {
    const { store } = this.#deps;
    try {
      await store.delete(superfluous.object.name, signal);
      this.#observer.deleted(superfluous);
      return true;
    } catch (error) {
      signal.throwIfAborted();
      this.#observer.deleteFailed(superfluous, error);
      this.#deleteError ??= error;
      if (error instanceof SyncError && error.code === 'STORAGE_DENIED') {
        this.#denied = true;
        this.#deleteError = new SyncError(
          'STORAGE_DENIED',
          `the policies give this agent no delete right, the cleaner rests until the next start: ${errorText(error)}`,
          {
            hint: 'Leave cleaning to the compactor and set storage.cleanup.enabled to false.',
            cause: error,
          },
        );
      }
      return false;
    }
  }
}

/**
 * True if what a manifest names is listed: only then it proves anything. One of earlier rules proves nothing, its
 * compactor believed what objects say of others.
 */
function isStored({ lineage, base, level1 }: Manifest, { bases }: Listing): boolean {
  return lineage !== undefined && [base, ...level1].every((name) => bases.has(name));
}

/** Runs the cleaner of one engine until `signal` aborts; returns at once where this agent deletes nothing. */
export async function runCleaner(
  deps: EngineDeps,
  parts: { stored: StoredSnapshots; mayClean: () => boolean; signal: AbortSignal },
): Promise<void> {
  const { cleaning, settings } = deps;
  if (cleaning === undefined || settings.receiveOnly) {
    return;
  }
  const cleaner = new Cleaner(deps, { ...cleaning, stored: parts.stored });
  await cleaner.run(parts.signal, { mayClean: parts.mayClean });
}
