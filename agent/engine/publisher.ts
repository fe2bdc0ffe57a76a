import {
  formatObjectName,
  parseObjectName,
  streamOf,
  type ObjectKind,
  type StreamId,
} from '../../protocol/object-name.ts';
import { covers, type VersionVector } from '../../protocol/version-vector.ts';
import type { Detection, EncodedObject } from '../lmdb/local-database.ts';
import { discardSpool, spoolBody } from '../spool.ts';
import { backoff } from '../pacing/backoff.ts';
import { lacksUnmarked } from './cleaning-rule.ts';
import { FullSnapshotPolicy } from './publish/full-snapshot-policy.ts';
import { earlierObjects, type ListedObject } from './listing.ts';
import { NextObjects, type NextObject } from './next-objects.ts';
import { missingOwn, OwnObjects, OwnSnapshots } from './own-objects.ts';
import type { PassResult } from './pass-result.ts';
import { TokenBucket } from '../pacing/token-bucket.ts';
import type { EngineDeps } from './types.ts';
import type { VectorTracker } from './vector-tracker.ts';

/**
 * Sends local changes: one stream per run, its objects numbered 1, 2, 3, … and stored strictly in order. The next
 * PUT starts when the one before is acknowledged; an unanswered PUT is repeated with the same name and bytes until it
 * succeeds or the run ends.
 */
export class Publisher {
  readonly #deps: EngineDeps;
  readonly #tracker: VectorTracker;
  readonly #policy: FullSnapshotPolicy;
  readonly #tokens: TokenBucket;
  readonly ownStream: StreamId;
  #acknowledged = 0n;
  /** The highest number for which a PUT was begun. */
  #tried = 0n;
  /** No name of ours may be at or below this time: upstream readers take the newest name per instance. */
  #floorNs = 0n;
  #lastFullNs = 0n;
  #sending: Promise<void> | undefined;
  #detection: Detection;
  readonly #next: NextObjects;
  readonly #snapshots = new OwnSnapshots();
  readonly #own: OwnObjects;

  constructor(deps: EngineDeps, parts: { tracker: VectorTracker; detection: Detection }) {
    this.#deps = deps;
    this.#tracker = parts.tracker;
    this.#detection = parts.detection;
    this.#own = new OwnObjects(deps);
    const { settings, clock } = deps;
    this.ownStream = streamOf(settings.instance, settings.run);
    this.#policy = new FullSnapshotPolicy(settings, clock);
    this.#next = new NextObjects(deps, {
      tracker: parts.tracker,
      policy: this.#policy,
      detection: () => this.#detection,
    });
    this.#tokens = new TokenBucket({
      intervalMs: settings.uploadMinIntervalMs,
      burst: settings.uploadBurst,
      clock,
    });
  }

  get policy(): FullSnapshotPolicy {
    return this.#policy;
  }

  get detection(): Detection {
    return this.#detection;
  }

  /** True when everything that the last detection saw is in stored objects. */
  get idle(): boolean {
    if (this.#sending !== undefined || this.#next.hasPending) {
      return false;
    }
    return !this.#detection.hasData || this.#next.dueReason === undefined;
  }

  /** How many objects of this run are stored. */
  get acknowledged(): bigint {
    return this.#acknowledged;
  }

  /** True while only the passing of time makes another object due, soon: whoever waits must look at the clock. */
  get isResting(): boolean {
    return this.#policy.isUpstreamBehind(this.#detection.dataTxnId);
  }

  /** Says so where changes are left for the next start. */
  logUnsent(): void {
    if (this.#deps.settings.receiveOnly || !this.#next.hasPending) {
      return;
    }
    this.#deps.log.warn(
      { pending: this.#detection.pendingKeys },
      'stopping with unsent local changes; the next start sends them',
    );
  }

  /** To be called with every detection, before the call that took it resolves. */
  noteDetection(detection: Detection): void {
    this.#detection = detection;
    this.#deps.observer.detected(detection);
  }

  /**
   * Detects what changed and, if nothing of ours is on its way, starts to send it. Returns the milliseconds after
   * which to call again without a new hint. `onSent` is called when the object is acknowledged.
   */
  async step(options: {
    /** Asked again once an object is made: what is found for it may say that this host was away. */
    maySend: () => boolean;
    signal: AbortSignal;
    onSent: () => void;
  }): Promise<number> {
    const { db, settings, clock, beforeSend, watchdog } = this.#deps;
    beforeSend?.();
    const waitMs = this.#tokens.waitMs();
    const blocked = !options.maySend() || settings.receiveOnly || this.#sending !== undefined;
    if (blocked || waitMs > 0) {
      // Detected all the same: the pin moves on, so that the file does not grow because of us.
      await db.detect();
      return blocked || this.idle ? Number.POSITIVE_INFINITY : waitMs;
    }
    const nowNs = clock.nowNs();
    const timeNs = nowNs > this.#floorNs ? nowNs : this.#floorNs + 1n;
    const next = await this.#next.encode({ seq: this.#acknowledged + 1n, timeNs });
    if (typeof next === 'number') {
      return next;
    }
    this.#floorNs = next.at(-1)?.timeNs ?? this.#floorNs;
    if (!options.maySend()) {
      await this.#giveBack(next);
      return Number.POSITIVE_INFINITY;
    }
    const { signal, onSent } = options;
    const send = () => this.#sendAll(next, signal);
    const recover = (error: unknown) => this.#recover(next, { error, signal });
    this.#sending = watchdog
      .loop('send')
      .during('an object', send)
      .catch(recover)
      .then(() => {
        this.#sending = undefined;
        onSent();
      });
    return Number.POSITIVE_INFINITY;
  }

  /** None of them was tried: what they hold is pending again. */
  async #giveBack(objects: readonly NextObject[]): Promise<void> {
    for (const { encoded } of objects) {
      await discardSpool(encoded.spool);
      await this.#deps.db.giveBack(encoded.token);
    }
  }

  /** After an error that nobody expects. What the object held is to be sent again, after a pause. */
  async #recover(
    objects: readonly NextObject[],
    { error, signal }: { readonly error: unknown; readonly signal: AbortSignal },
  ): Promise<void> {
    const { db, settings, sleep, observer } = this.#deps;
    // The end of the run ends the repeating; what was not stored is found by the next start's scan.
    if (signal.aborted) {
      return;
    }
    try {
      for (const { encoded } of objects) {
        await discardSpool(encoded.spool);
      }
      if (this.#acknowledged < this.#tried) {
        // It may be stored: its number must not get other bytes, which others would skip. A full snapshot
        // of the next number holds whatever it held.
        this.#acknowledged = this.#tried;
        this.#policy.requireAgain();
      }
      for (const { encoded } of objects) {
        await db.giveBack(encoded.token);
      }
      observer.storeFailed(undefined, error);
      await sleep(settings.retryIntervalMs, signal);
    } catch (cause) {
      if (!signal.aborted) {
        observer.storeFailed(undefined, cause);
      }
    }
  }

  /** Resolves when nothing is on its way. */
  async settled(): Promise<void> {
    await this.#sending;
  }

  /** To be called with every listing, before anything is sent on its account: earlier runs count like this one. */
  noteListed({ listing, manifest }: Pick<PassResult, 'listing' | 'manifest'>): void {
    const own = listing.objects.filter(({ instance }) => instance === this.#deps.settings.instance);
    const { ownStream } = this;
    this.#policy.noteEarlier(earlierObjects(own, { ownStream, base: manifest?.vector }));
  }

  /** Learns from a listing: the names that upstream readers see, and whether what we stored is still there. */
  async reviewListing(
    result: PassResult,
    options: { atStart: boolean; signal: AbortSignal },
  ): Promise<void> {
    const { observer, log } = this.#deps;
    const own = result.listing.objects.filter(
      (object) => object.instance === this.#deps.settings.instance,
    );
    const newest = own.reduce<ListedObject | undefined>(
      (best, object) => (best === undefined || object.timeNs > best.timeNs ? object : best),
      undefined,
    );
    if (newest !== undefined && newest.timeNs > this.#floorNs) {
      this.#floorNs = newest.timeNs;
    }
    if (options.atStart) {
      // What is still to be sent, changes made while no agent ran, is not in that snapshot.
      const isWhole = !this.#next.hasPending && this.#sending === undefined;
      if (newest?.kind === 'snapshot' && isWhole) {
        this.#policy.assumeUpstreamHas(this.#detection.dataTxnId);
      } else {
        this.#policy.requireForUpstream();
      }
    } else if (newest !== undefined && newest.stream !== this.ownStream) {
      // Another agent of our name, or a late PUT of an earlier run.
      if (newest.timeNs > this.#lastFullNs) {
        this.#policy.requireForUpstream();
      }
      if (newest.timeNs > result.startedNs - 60_000_000_000n) {
        observer.sharedNameSeen(newest.stream);
      }
    }
    const { instance } = this.#deps.settings;
    const missing = missingOwn(own, result, { instance, fullVectors: this.#snapshots.vectors });
    if (await this.#own.isOneLost(missing, options.signal)) {
      log.warn(
        {},
        'objects that this instance stored are gone from the storage, sending everything again',
      );
      this.#policy.requireAgain();
    }
    this.#snapshots.forgetGone(own, result.vectorBefore);
    this.#noteBase(own, result);
    this.#next.wantsUnmarked = this.#lacksUnmarked(result);
  }

  #noteBase(own: readonly ListedObject[], { manifest, listing }: PassResult): void {
    const based = manifest?.vector.get(this.ownStream);
    if (based !== undefined) {
      this.#policy.coveredByBase(Number(this.#acknowledged - based));
    }
    this.#policy.noteBase(
      manifest !== undefined &&
        // One that is gone holds nothing, whatever the manifest says.
        listing.bases.has(manifest.base) &&
        this.#acknowledged <= (based ?? 0n) &&
        own.every((object) => covers(manifest.vector, object)),
    );
  }

  #lacksUnmarked({ listing, manifest }: PassResult): boolean {
    const { cleaning, clock, settings } = this.#deps;
    const stored = [manifest?.vector, this.#snapshots.unmarked];
    return lacksUnmarked(listing.objects, {
      instance: settings.instance,
      ownStream: this.ownStream,
      vector: this.#tracker.vector,
      stored: stored.filter((vector) => vector !== undefined),
      removeOldInstancesMs: cleaning?.settings.removeOldInstancesMs,
      nowNs: clock.nowNs(),
    });
  }

  /** What acknowledged full snapshots of this run prove, by name. */
  get fullSnapshots(): ReadonlyMap<string, VersionVector> {
    return this.#snapshots.vectors;
  }

  /** One directly after the other: a marked one adds nothing to the number below its own. */
  async #sendAll(objects: readonly NextObject[], signal: AbortSignal): Promise<void> {
    for (const object of objects) {
      this.#tokens.take();
      await this.#send(object, signal);
    }
  }

  async #send({ encoded, seq, timeNs, marked }: NextObject, signal: AbortSignal): Promise<void> {
    const { db, store, settings, clock, sleep, random, observer, beforeSend } = this.#deps;
    const kind: ObjectKind = encoded.kind;
    const name = formatObjectName({
      database: settings.database,
      instance: settings.instance,
      run: settings.run,
      timeNs,
      seq,
      kind,
      marked,
    });
    observer.generated(name, encoded);
    const body = spoolBody(encoded.spool);
    const delays = backoff({ minMs: 100, maxMs: settings.retryIntervalMs, random });
    const startedNs = clock.nowNs();
    let attempts = 1;
    let attemptNs = startedNs;
    try {
      for (;;) {
        try {
          attemptNs = clock.nowNs();
          beforeSend?.(timeNs);
          this.#tried = seq;
          // "exists" is our own earlier attempt whose answer was lost: the name holds this run's random id.
          await store.create(name, body, signal);
          break;
        } catch (error) {
          signal.throwIfAborted();
          observer.storeFailed(name, error);
          attempts += 1;
          await sleep(delays.next(), signal);
        }
      }
    } finally {
      await discardSpool(encoded.spool);
    }
    try {
      await db.acknowledge(encoded.token);
    } finally {
      // It is stored, whatever becomes of the marker.
      this.#acknowledged = seq;
    }
    this.#own.noteStored({ stream: this.ownStream, seq }, name);
    this.#tracker.acknowledgeOwn(this.ownStream, seq);
    if (kind === 'snapshot') {
      this.#noteFullStored(name, { encoded, sizeBytes: body.sizeBytes });
    } else {
      this.#policy.deltaStored(body.sizeBytes);
    }
    const nowNs = clock.nowNs();
    observer.stored({
      name,
      encoded,
      sizeBytes: body.sizeBytes,
      storeMs: Number(nowNs - attemptNs) / 1e6,
      totalMs: Number(nowNs - startedNs) / 1e6,
      attempts,
    });
  }

  #noteFullStored(
    name: string,
    { encoded, sizeBytes }: { readonly encoded: EncodedObject; readonly sizeBytes: number },
  ): void {
    this.#policy.fullStored(sizeBytes, encoded.dataTxnId);
    const object = parseObjectName(name);
    if (object !== undefined && encoded.vector !== undefined) {
      this.#next.noteFullStored(object);
      this.#lastFullNs = object.timeNs;
      this.#snapshots.noteStored(object, encoded.vector);
    }
  }
}
