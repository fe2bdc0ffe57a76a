import { errorText, SyncError } from '../../protocol/errors.ts';
import { MAX_MANIFEST_BYTES } from '../../protocol/limits.ts';
import { parseManifest, type Manifest } from '../../protocol/manifest.ts';
import { manifestName, parseObjectName, type ObjectName } from '../../protocol/object-name.ts';
import { covers, joinVectors, type VersionVector } from '../../protocol/version-vector.ts';
import type { Detection } from '../lmdb/local-database.ts';
import { listDatabase, type Listing } from './listing.ts';
import type { ObjectMerger } from './object-merger.ts';
import { readBounded } from './read-bounded.ts';
import type { EngineDeps } from './types.ts';

/** Reading all of the bucket costs: it is not tried again sooner than this. */
const RETRY_NS = 600_000_000_000n;
const MAX_RESTARTS = 5;

/** One object of the bucket, with the vector of the published state if it is the last part of that. */
type Part = {
  readonly object: ObjectName;
  readonly etag: string | undefined;
  readonly vector?: VersionVector;
};

/**
 * Keeps a host that was away for longer than half the tombstone retention from bringing back what others have deleted
 * and swept meanwhile. Before it uploads, sweeps or cleans again, it reads every object of the bucket, whatever its
 * vector says and its own run's too, and then drops the entries that it had uploaded or merged and that are in none of them.
 *
 * While that cannot be completed it merges and uploads as ever, but drops, sweeps and cleans nothing, and the time of
 * its last sync stands still.
 */
export class Rejoin {
  readonly #deps: EngineDeps;
  readonly #merger: ObjectMerger;
  readonly #onDetection: (detection: Detection) => void;
  #lastSyncNs: bigint | undefined;
  #postponedNs: bigint | undefined;

  constructor(
    deps: EngineDeps,
    parts: {
      merger: ObjectMerger;
      lastSyncNs: bigint | undefined;
      onDetection: (detection: Detection) => void;
    },
  ) {
    this.#deps = deps;
    this.#merger = parts.merger;
    this.#lastSyncNs = parts.lastSyncNs;
    this.#onDetection = parts.onDetection;
  }

  /** The last complete pass is too long ago. */
  get isDue(): boolean {
    const lastSyncNs = this.#lastSyncNs;
    if (lastSyncNs === undefined || this.#halfRetentionNs === undefined) return false;
    return this.#deps.clock.nowNs() - lastSyncNs > this.#halfRetentionNs;
  }

  /** Uploads must wait: it is due, and was not tried a short while ago. */
  get isPressing(): boolean {
    if (!this.isDue) return false;
    const sinceNs = this.#deps.clock.nowNs() - (this.#postponedNs ?? 0n);
    return this.#postponedNs === undefined || sinceNs >= RETRY_NS || sinceNs < 0n;
  }

  /** A listing pass was complete; false: it does not count as a sync, a rejoin is due first. */
  noteSync(startedNs: bigint): boolean {
    if (this.isDue) return false;
    this.#lastSyncNs = startedNs;
    return true;
  }

  /** The LMDB has not been synced with this bucket. */
  forget(): void {
    this.#lastSyncNs = undefined;
  }

  /** Rejoins if that is due, and tells why where it cannot be completed. Rejects only when `signal` aborts. */
  async step(signal: AbortSignal): Promise<void> {
    const lastSyncNs = this.#lastSyncNs;
    const { sweeping, clock, db } = this.#deps;
    if (sweeping === undefined || lastSyncNs === undefined || !this.isPressing) return;
    sweeping.observer.rejoinBegan(lastSyncNs);
    try {
      for (let restart = 0; restart <= MAX_RESTARTS; restart += 1) {
        const startedNs = clock.nowNs();
        if (!(await this.#readAll({ lastSyncNs, signal }))) continue;
        this.#lastSyncNs = startedNs;
        this.#postponedNs = undefined;
        return;
      }
      throw new SyncError('STORAGE_FAILED', 'objects went away while they were to be read');
    } catch (error) {
      signal.throwIfAborted();
      await db.abandonRejoin();
      this.#postponedNs = clock.nowNs();
      sweeping.observer.rejoinPostponed(errorText(error));
    }
  }

  get #halfRetentionNs(): bigint | undefined {
    const { sweeping } = this.#deps;
    return sweeping && BigInt(Math.round(sweeping.settings.retentionMs)) * 500_000n;
  }

  /** False: an object went away (it was folded, or deleted), so all must be listed anew. */
  async #readAll(options: { lastSyncNs: bigint; signal: AbortSignal }): Promise<boolean> {
    const { store, settings, db, clock, sweeping } = this.#deps;
    const { lastSyncNs, signal } = options;
    await db.beginRejoin();
    const listing = await listDatabase(store, settings.database, signal);
    const manifest = await this.#readManifest(signal);
    const parts = allParts(listing, manifest);
    const damaged: ObjectName[] = [];
    let states: VersionVector = new Map();
    for (const part of parts) {
      const read = await this.#readPart(part, signal);
      if (read === 'missing') return false;
      // Of the published state all parts are needed; the vector must not move with its last one alone.
      if (read === 'damaged' && part.vector !== undefined) throw unreadable(part.object);
      if (read === 'damaged') damaged.push(part.object);
      else states = joinVectors(states, read);
    }
    // What a state that was read covers is in that state.
    const unread = damaged.find((object) => !covers(states, object));
    if (unread !== undefined) throw unreadable(unread);
    const nowNs = clock.nowNs();
    const othersWrote =
      (manifest !== undefined && manifest.publishedAtNs > lastSyncNs) ||
      listing.objects.some(
        ({ instance, timeNs }) => instance !== settings.instance && timeNs > lastSyncNs,
      );
    const { dropped, stamped, detection } = await db.finishRejoin({
      othersWrote,
      // Where nothing is ever sent, nothing needs an order among what others have.
      staleBeforeNs: settings.receiveOnly ? 0n : nowNs - (this.#halfRetentionNs ?? 0n),
      nowNs,
    });
    this.#onDetection(detection);
    sweeping?.observer.rejoined({ dropped, stamped, objects: parts.length });
    return true;
  }

  async #readManifest(signal: AbortSignal): Promise<Manifest | undefined> {
    const got = await this.#deps.store.get(manifestName(this.#deps.settings.database), { signal });
    return got && parseManifest(await readBounded(got.body, MAX_MANIFEST_BYTES));
  }

  /** Merges one object; returns what it covers, if it is a full state. Rejects when it cannot be read or merged now. */
  async #readPart(
    { object, etag, vector }: Part,
    signal: AbortSignal,
  ): Promise<VersionVector | 'missing' | 'damaged'> {
    if (this.#merger.isQuarantined(object.name, etag)) return 'damaged';
    const got = await this.#merger.fetch(object, signal);
    if (got.kind === 'missing') return 'missing';
    if (got.kind === 'quarantined') return 'damaged';
    const { fetched } = got;
    try {
      const absorbed = vector === undefined ? fetched.absorbed : { ...object, vector };
      const merged = await this.#merger.merge({ ...fetched, absorbed }, signal);
      return merged === 'quarantined' ? 'damaged' : (absorbed.vector ?? new Map());
    } finally {
      await fetched.release();
    }
  }
}

function unreadable({ name }: ObjectName): SyncError {
  return new SyncError('SNAPSHOT_CORRUPT', `${name} is damaged: what it holds is unknown`);
}

function allParts(listing: Listing, manifest: Manifest | undefined): Part[] {
  const parts: Part[] = [];
  const names = manifest === undefined ? [] : [manifest.base, ...manifest.level1];
  for (const [at, name] of names.entries()) {
    const object = parseObjectName(name);
    if (object === undefined) continue;
    // Only with the last part is the published state whole.
    const vector = at === names.length - 1 ? manifest?.vector : undefined;
    parts.push({ object, etag: listing.bases.get(name), vector: vector ?? new Map() });
  }
  for (const object of listing.objects) parts.push({ object, etag: object.etag });
  return parts;
}
