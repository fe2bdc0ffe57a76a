import { errorText, SyncError } from '../../protocol/errors.ts';
import { publishedVector, type Manifest } from '../../protocol/manifest.ts';
import { parseObjectName, type ObjectName } from '../../protocol/object-name.ts';
import { covers, joinVectors, type VersionVector } from '../../protocol/version-vector.ts';
import { listDatabase, type Listing } from './listing.ts';
import type { ObjectMerger } from './object-merger.ts';
import type { RejoinObserver } from './housekeeping-types.ts';
import type { EngineDeps } from './types.ts';
import type { VectorTracker } from './vector-tracker.ts';
import { readManifest } from '../../storage/read-manifest.ts';

/** Away for less than this a host is in step: no retention is shorter than four hours. */
const SHORT_ABSENCE_NS = 3_600_000_000_000n;
/** Reading all of the bucket costs: it is not tried again sooner than this. */
const RETRY_NS = 600_000_000_000n;
const MAX_RESTARTS = 5;

/** One object of the bucket, with the vector of the published state if it is the last part of that. */
type Part = {
  readonly object: ObjectName;
  readonly etag: string | undefined;
  readonly vector?: VersionVector;
  readonly rejoinBeforeNs?: bigint;
};

/**
 * Keeps a host that was away for longer than half the tombstone retention from bringing back what others have deleted
 * and swept meanwhile.
 *
 * The retention is that of its own sweeper, and of everybody else who dropped tombstones.
 * Their manifests and the Meta of their full snapshots say so (`rejoinBeforeNs`).
 *
 * Before this host uploads, sweeps or cleans again, it reads every object of the bucket.
 * Its vector does not matter for that, and objects of its own run are read, too.
 * Then it drops the entries that it had uploaded or merged and that no object holds.
 *
 * Until a rejoin is complete, the host merges and uploads as always. It drops, sweeps and
 * cleans nothing, and the time of its last sync stands still.
 */
export class Rejoin {
  readonly #deps: EngineDeps;
  readonly #merger: ObjectMerger;
  readonly #tracker: VectorTracker;
  #lastSyncNs: bigint | undefined;
  /** The highest that a manifest has said, and up to which what was said has been dealt with. */
  #announcedNs = 0n;
  #doneNs = 0n;
  #postponedNs: bigint | undefined;

  constructor(
    deps: EngineDeps,
    parts: {
      merger: ObjectMerger;
      tracker: VectorTracker;
      lastSyncNs: bigint | undefined;
    },
  ) {
    this.#deps = deps;
    this.#merger = parts.merger;
    this.#tracker = parts.tracker;
    this.#lastSyncNs = parts.lastSyncNs;
  }

  /** The last complete pass is too long ago. */
  get isDue(): boolean {
    const lastSyncNs = this.#lastSyncNs;
    if (lastSyncNs === undefined) {
      return false;
    }
    const others = this.#othersNs;
    if (others > lastSyncNs && others > this.#doneNs) {
      return true;
    }
    const own = this.#ownNs;
    return own !== undefined && lastSyncNs < own;
  }

  /** Nothing of the bucket that is still unread can make it due: tombstones are kept longer than this host was away. */
  get isInStep(): boolean {
    const lastSyncNs = this.#lastSyncNs;
    return lastSyncNs === undefined || this.#deps.clock.nowNs() - lastSyncNs < SHORT_ABSENCE_NS;
  }

  /** A manifest says that who synced last before this must rejoin. */
  noteAnnounced(rejoinBeforeNs: bigint): void {
    if (rejoinBeforeNs > this.#announcedNs) {
      this.#announcedNs = rejoinBeforeNs;
    }
  }

  /** Uploads must wait: it is due, and was not tried a short while ago. */
  get isPressing(): boolean {
    if (!this.isDue) {
      return false;
    }
    const sinceNs = this.#deps.clock.nowNs() - (this.#postponedNs ?? 0n);
    return this.#postponedNs === undefined || sinceNs >= RETRY_NS || sinceNs < 0n;
  }

  /** A listing pass was complete; false: it does not count as a sync, a rejoin is due first. */
  noteSync(startedNs: bigint): boolean {
    if (this.isDue) {
      return false;
    }
    this.#lastSyncNs = startedNs;
    return true;
  }

  /** As far as a part of the LMDB goes, this host was away since then: it was left out of what was sent and merged. */
  noteLeftOutSince(sinceNs: bigint): void {
    if (this.#lastSyncNs !== undefined && sinceNs < this.#lastSyncNs) {
      this.#lastSyncNs = sinceNs;
      // What was dealt with since was dealt with without that part.
      this.#doneNs = 0n;
      this.#postponedNs = undefined;
    }
  }

  /** From now on the LMDB is synced with another bucket: none of its entries can have been swept there. */
  begin(nowNs: bigint): void {
    this.#lastSyncNs = nowNs;
  }

  /** Rejoins if that is due, and tells why where it cannot be completed. Rejects only when `signal` aborts. */
  async step(signal: AbortSignal): Promise<void> {
    const lastSyncNs = this.#lastSyncNs;
    const { clock, db } = this.#deps;
    if (lastSyncNs === undefined || !this.isPressing) {
      return;
    }
    this.#observer?.rejoinBegan(lastSyncNs);
    try {
      for (let restart = 0; restart <= MAX_RESTARTS; restart += 1) {
        const startedNs = clock.nowNs();
        if (!(await this.#readAll({ lastSyncNs, signal }))) {
          continue;
        }
        this.#lastSyncNs = startedNs;
        // Also what a clock ahead of ours has said: it would be due again at once, for ever.
        this.#doneNs = this.#othersNs;
        this.#postponedNs = undefined;
        return;
      }
      throw new SyncError('STORAGE_FAILED', 'objects went away while they were to be read');
    } catch (error) {
      signal.throwIfAborted();
      await db.abandonRejoin();
      this.#postponedNs = clock.nowNs();
      this.#observer?.rejoinPostponed(errorText(error));
    }
  }

  get #observer(): RejoinObserver | undefined {
    return this.#deps.rejoinObserver ?? this.#deps.sweeping?.observer;
  }

  /** Half the retention of our own sweeper ago. */
  get #ownNs(): bigint | undefined {
    const { sweeping, clock } = this.#deps;
    return sweeping && clock.nowNs() - BigInt(Math.round(sweeping.settings.retentionMs)) * 500_000n;
  }

  /** What states of others say, published ones and those that were merged here. */
  get #othersNs(): bigint {
    const merged = this.#tracker.rejoinBeforeNs;
    return merged > this.#announcedNs ? merged : this.#announcedNs;
  }

  /** False: an object went away (it was folded, or deleted), so all must be listed anew. */
  async #readAll(options: { lastSyncNs: bigint; signal: AbortSignal }): Promise<boolean> {
    const { store, settings, db, clock } = this.#deps;
    const { lastSyncNs, signal } = options;
    await db.beginRejoin();
    const listing = await listDatabase(store, settings.database, signal);
    const stored = await readManifest(store, settings.database, signal);
    const manifest = stored?.manifest;
    if (manifest !== undefined) {
      this.noteAnnounced(manifest.rejoinBeforeNs);
    }
    const { droppedNs } = this.#tracker;
    const comesBack = (object: ObjectName) =>
      manifest !== undefined && object.timeNs <= droppedNs && !this.#tracker.has(object);
    const parts = allParts(listing, manifest).filter(
      // What came back is what a rejoin keeps out.
      ({ object, vector }) => vector !== undefined || !comesBack(object),
    );
    const damaged: ObjectName[] = [];
    let states: VersionVector = new Map();
    for (const part of parts) {
      const read = await this.#readPart(part, signal);
      if (read === 'missing') {
        return false;
      }
      // Of the published state all parts are needed; the vector must not move with its last one alone.
      if (read === 'damaged' && part.vector !== undefined) {
        throw unreadable(part.object);
      }
      if (read === 'damaged') {
        damaged.push(part.object);
      } else {
        states = joinVectors(states, read);
      }
    }
    // What a state that was read covers is in that state.
    const unread = damaged.find((object) => !covers(states, object));
    if (unread !== undefined) {
      throw unreadable(unread);
    }
    const nowNs = clock.nowNs();
    const ownNs = this.#ownNs ?? 0n;
    const staleBeforeNs = ownNs > this.#othersNs ? ownNs : this.#othersNs;
    const othersWrote =
      (manifest !== undefined && manifest.publishedAtNs > lastSyncNs) ||
      listing.objects.some(
        ({ instance, timeNs }) => instance !== settings.instance && timeNs > lastSyncNs,
      );
    const { dropped, stamped } = await db.finishRejoin({
      othersWrote,
      // Where nothing is ever sent, nothing needs an order among what others have.
      staleBeforeNs: settings.receiveOnly ? 0n : staleBeforeNs,
      nowNs,
    });
    this.#observer?.rejoined({ dropped, stamped, objects: parts.length });
    return true;
  }

  /** Merges one object; returns what it covers, if it is a full state. Rejects when it cannot be read or merged now. */
  async #readPart(
    { object, etag, vector, rejoinBeforeNs }: Part,
    signal: AbortSignal,
  ): Promise<VersionVector | 'missing' | 'damaged'> {
    if (this.#merger.isQuarantined(object.name, etag)) {
      return 'damaged';
    }
    const got = await this.#merger.fetch(object, signal);
    if (got.kind === 'missing') {
      return 'missing';
    }
    if (got.kind === 'quarantined') {
      return 'damaged';
    }
    const { fetched } = got;
    try {
      const published = vector === undefined ? undefined : { ...object, vector, rejoinBeforeNs };
      const merged = await this.#merger.merge({ ...fetched, published }, signal);
      const { vector: covered } = published ?? fetched.absorbed;
      return merged === 'quarantined' ? 'damaged' : (covered ?? new Map());
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
    if (object === undefined) {
      continue;
    }
    // Only with the last part is the published state whole.
    const isLast = at === names.length - 1;
    const vector = isLast && manifest !== undefined ? publishedVector(manifest) : undefined;
    parts.push({
      object,
      etag: listing.bases.get(name),
      vector: vector ?? new Map(),
      rejoinBeforeNs: manifest?.rejoinBeforeNs ?? 0n,
    });
  }
  for (const object of listing.objects) {
    parts.push({ object, etag: object.etag });
  }
  return parts;
}
