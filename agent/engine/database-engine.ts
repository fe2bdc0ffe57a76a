import { errorText } from '../../protocol/errors.ts';
import type { ObjectName } from '../../protocol/object-name.ts';
import type { Detection } from '../lmdb/local-database.ts';
import { retryDelay } from '../pacing/backoff.ts';
import { checkBucket } from './bucket-check.ts';
import { runHousekeeping } from './housekeeping.ts';
import { ObjectMerger } from './object-merger.ts';
import { Publisher } from './publisher.ts';
import { finishedStreams, Receiver, type PassResult } from './receiver.ts';
import { Rejoin } from './rejoin.ts';
import type { EngineLimits } from '../pacing/semaphore.ts';
import type { EngineDeps } from './types.ts';
import { VectorTracker } from './vector-tracker.ts';
import { Wakeup } from '../pacing/wakeup.ts';

/** More names than this waiting to be fetched one by one are better found by one listing. */
const MAX_QUEUED_NAMES = 1000;
/** With nothing else to persist, the time of the last complete pass is written this often. */
const LAST_SYNC_PERSIST_MS = 60 * 60 * 1000;

/**
 * One database's engine: detect, publish, receive, merge, and the order between them.
 *
 * Start: the LMDB is opened and its first read transaction scanned for what is not uploaded (that transaction is
 * the first pin, so nothing committed in between is missed); then a listing pass, own-instance objects first; when
 * those are merged or quarantined, uploads begin. From then on three loops run beside each other: one sends what
 * changes locally, one receives by notices and passes, one writes the bookkeeping. The LMDB work of all three is
 * queued in the database's worker.
 */
export class DatabaseEngine {
  readonly #deps: EngineDeps;
  readonly #limits: EngineLimits;
  readonly #changed = new Wakeup();
  readonly #noticed = new Wakeup();
  readonly #sent = new Wakeup();
  #names: string[] = [];
  #passRequested = true;
  #mayUpload = false;
  #passTried = false;
  #passedOnce = false;
  #persisted: { vectorText: string; uploaded: number; lastSyncNs: bigint } | undefined;
  #lastPassNs: bigint | undefined;
  #lastPass: PassResult | undefined;
  #acknowledgedCount = 0;
  #tracker: VectorTracker | undefined;
  #merger: ObjectMerger | undefined;
  /** The transaction up to which changes were detected, and one that was told of during a merge. */
  #seenTxnId = -1;
  #toldTxnId = -1;

  constructor(deps: EngineDeps, limits: EngineLimits) {
    this.#deps = deps;
    this.#limits = limits;
  }

  /** How many streams the version vector names. */
  get vectorSize(): number {
    return this.#tracker?.vector.size ?? 0;
  }

  /** True when the object's content is in the LMDB. */
  has(object: ObjectName): boolean {
    return this.#tracker?.has(object) === true;
  }

  /** The LMDB's last transaction is this one, says whoever watches the file. */
  noteChange(txnId: number): void {
    // Our own merges and state writes are known before anybody else can tell of them.
    if (txnId <= this.#seenTxnId) {
      return;
    }
    if (this.#merger?.isMerging === true) {
      this.#toldTxnId = txnId;
    } else {
      this.#changed.notify();
    }
  }

  /** These objects exist, says somebody; best effort, repetition and disorder are fine. */
  noteNames(names: readonly string[]): void {
    if (this.#names.length + names.length > MAX_QUEUED_NAMES) {
      this.#names = [];
      this.#passRequested = true;
    } else {
      this.#names.push(...names);
    }
    this.#noticed.notify();
  }

  /** A listing pass is wanted. */
  noteListing(): void {
    this.#passRequested = true;
    this.#noticed.notify();
  }

  /**
   * Runs until `signal` aborts (or, with only-once, until everything listed is merged and everything local is
   * stored), then sends the last changes within the shutdown timeout and closes the LMDB. Rejects when the LMDB cannot
   * be opened.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { db, settings, sleep } = this.#deps;
    const opened = await db.open();
    const tracker = new VectorTracker(opened.vector);
    tracker.noteRejoinBefore(opened.rejoinBeforeNs);
    this.#tracker = tracker;
    const publisher = new Publisher(this.#deps, {
      tracker,
      detection: opened,
      onDetection: (detection) => this.#afterDetection(detection),
    });
    const merger = new ObjectMerger(this.#deps, {
      tracker,
      limits: this.#limits,
      // Every merge takes a diff first: what it found is to be sent.
      onDetection: (detection) => {
        publisher.noteDetection(detection);
        if (!publisher.idle) {
          this.#changed.notify();
        }
      },
      onIdle: () => {
        if (this.#toldTxnId > this.#seenTxnId) {
          this.#changed.notify();
        }
      },
    });
    this.#merger = merger;
    publisher.noteDetection(opened);
    if (opened.uploadedTxn === undefined) {
      publisher.policy.requireFirst();
    }
    // Ends when the agent stops; what is being sent then still has until the hard limit.
    const hardStop = new AbortController();
    const finished = new AbortController();
    const running = AbortSignal.any([signal, finished.signal]);
    const rejoin = new Rejoin(this.#deps, {
      merger,
      tracker,
      lastSyncNs: opened.lastSyncNs,
      onDetection: (detection) => publisher.noteDetection(detection),
    });
    const receiver = new Receiver(this.#deps, {
      tracker,
      merger,
      ownStream: publisher.ownStream,
      onManifest: ({ rejoinBeforeNs }) => rejoin.noteAnnounced(rejoinBeforeNs),
    });
    const hard = hardStop.signal;
    const parts: EngineParts = { publisher, receiver, merger, tracker, rejoin, hard };
    const loops = [
      this.#publishLoop(parts, running),
      this.#receiveLoop(parts, running, { bucketId: opened.bucketId, finished }),
      this.#persistLoop(parts, running),
      runHousekeeping(this.#deps, {
        ...parts,
        isSynced: () => this.#lastPassNs !== undefined,
        lastPass: () => this.#lastPass,
        signal: running,
      }),
    ];
    try {
      await Promise.all(loops);
    } finally {
      finished.abort();
      const limit = new AbortController();
      void sleep(settings.shutdownTimeoutMs, limit.signal).then(
        () => hardStop.abort(new Error('shutdown timeout')),
        () => undefined,
      );
      await Promise.allSettled(loops);
      await this.#shutDown(parts);
      limit.abort();
      hardStop.abort(new Error('stopped'));
    }
  }

  #afterDetection(detection: Detection): void {
    this.#seenTxnId = detection.txnId;
    if (!detection.vectorForgotten) {
      return;
    }
    this.#deps.log.warn(
      {},
      'the LMDB holds changes older than what was merged before; merging the whole bucket again',
    );
    this.#tracker?.forget();
    this.noteListing();
  }

  async #publishLoop(parts: EngineParts, signal: AbortSignal): Promise<void> {
    const { settings, sleep, observer, log } = this.#deps;
    let nextMs = 0;
    while (!signal.aborted) {
      if (nextMs > 0) {
        await this.#changed.wait(signal, nextMs, sleep);
      }
      if (signal.aborted) {
        return;
      }
      try {
        nextMs = await this.#publishStep(parts);
        observer.databaseWorked();
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        observer.databaseFailed(error);
        log.warn({ error: errorText(error) }, 'cannot read local changes now, trying again');
        nextMs = settings.retryIntervalMs;
      }
    }
  }

  async #publishStep({ publisher, rejoin, hard }: EngineParts): Promise<number> {
    return publisher.step({
      maySend: this.#mayUpload && !rejoin.isPressing,
      signal: hard,
      onSent: () => {
        this.#acknowledgedCount += 1;
        // What was detected while it was on its way goes next.
        if (!publisher.idle || publisher.isResting) {
          this.#changed.notify();
        }
        this.#sent.notify();
      },
    });
  }

  async #receiveLoop(
    parts: EngineParts,
    signal: AbortSignal,
    start: { bucketId: string | undefined; finished: AbortController },
  ): Promise<void> {
    const { settings, sleep, log } = this.#deps;
    let bucketKnown = false;
    let failures = 0;
    while (!signal.aborted) {
      try {
        if (!bucketKnown) {
          if (await checkBucket(this.#deps, { ...parts, known: start.bucketId, signal })) {
            this.#changed.notify();
          }
          bucketKnown = true;
        }
        await this.#receiveRound(parts, signal);
        failures = 0;
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        failures += 1;
        this.#passRequested = true;
        log.warn({ error: errorText(error) }, 'cannot read the storage, trying again');
      }
      if (settings.onlyOnce && this.#passedOnce && (settings.receiveOnly || parts.publisher.idle)) {
        start.finished.abort();
        return;
      }
      // While something failed, its retry must not wait for a notice, nor run hot on notices.
      if (failures > 0) {
        await sleep(retryDelay(settings.retryIntervalMs, failures), signal).catch(noop);
      } else if (settings.onlyOnce && this.#passedOnce) {
        await this.#sent.wait(signal, 200, sleep);
      } else if (!this.#passRequested) {
        await this.#noticed.wait(signal, Number.POSITIVE_INFINITY, sleep);
      }
    }
  }

  async #receiveRound(parts: EngineParts, signal: AbortSignal): Promise<void> {
    const names = this.#names;
    this.#names = [];
    // Notices before the first pass say nothing that the pass does not find.
    if (names.length > 0 && this.#passTried) {
      if (await parts.receiver.receiveNames(names, signal)) {
        this.#passRequested = true;
      }
    }
    // What was merged says that others have dropped tombstones that this host never saw.
    if (parts.rejoin.isPressing) {
      this.#passRequested = true;
    }
    if (!this.#passRequested) {
      return;
    }
    this.#passRequested = false;
    await parts.rejoin.step(signal);
    const atStart = !this.#passedOnce;
    const mayUploadEarly = atStart && parts.rejoin.isInStep;
    this.#passTried = true;
    const result = await parts.receiver.pass({
      signal,
      ...(mayUploadEarly ? { onOwnMerged: () => this.#allowUploads() } : {}),
    });
    this.#afterPass(parts, result, atStart);
    if (parts.rejoin.isPressing) {
      this.#passRequested = true;
    }
    if (result.retry) {
      throw new Error('some objects could not be merged in this pass');
    }
  }

  #afterPass(
    { publisher, tracker, rejoin }: EngineParts,
    result: PassResult,
    atStart: boolean,
  ): void {
    publisher.reviewListing(result, { atStart });
    if (result.retry) {
      return;
    }
    if (result.complete) {
      tracker.prune(finishedStreams(result).filter((stream) => stream !== publisher.ownStream));
      this.#lastPass = result;
      if (rejoin.noteSync(result.startedNs)) {
        this.#lastPassNs = result.startedNs;
      }
    }
    if (!this.#passedOnce) {
      this.#passedOnce = true;
      this.#deps.observer.started();
    }
    this.#allowUploads();
    // A full snapshot may have become due.
    this.#changed.notify();
  }

  #allowUploads(): void {
    if (this.#mayUpload) {
      return;
    }
    this.#mayUpload = true;
    this.#changed.notify();
  }

  async #persistLoop(parts: EngineParts, signal: AbortSignal): Promise<void> {
    const { settings, sleep, log, observer } = this.#deps;
    while (!signal.aborted) {
      await sleep(settings.persistIntervalMs, signal).catch(noop);
      if (signal.aborted) {
        return;
      }
      try {
        await this.#persist(parts);
      } catch (error) {
        observer.databaseFailed(error);
        log.warn({ error: errorText(error) }, 'cannot write the sync state now, trying again');
      }
    }
  }

  /** Writes vector, marker and max_ts (always together) when they moved; the pass time with them, or hourly. */
  async #persist(
    { tracker, publisher }: EngineParts,
    options: { atStop?: boolean } = {},
  ): Promise<void> {
    const { vector, rejoinBeforeNs } = tracker.state;
    const vectorText = [rejoinBeforeNs, ...[...vector].map(([s, n]) => `${s}=${n}`)].join(' ');
    const uploaded = this.#acknowledgedCount;
    const before = this.#persisted;
    const lastSyncNs = this.#lastPassNs;
    const moved = before?.vectorText !== vectorText || before.uploaded !== uploaded;
    const sinceMs = Number((lastSyncNs ?? 0n) - (before?.lastSyncNs ?? 0n)) / 1e6;
    const overdue = lastSyncNs !== undefined && sinceMs >= LAST_SYNC_PERSIST_MS;
    if (!moved && !overdue && options.atStop !== true) {
      return;
    }
    const detection = await this.#deps.db.persist({
      ...tracker.state,
      ...(lastSyncNs === undefined ? {} : { lastSyncNs }),
      ...(options.atStop === true ? { entriesAtStop: true } : {}),
    });
    publisher.noteDetection(detection);
    if (!publisher.idle) {
      this.#changed.notify();
    }
    this.#persisted = { vectorText, uploaded, lastSyncNs: lastSyncNs ?? 0n };
  }

  /** The running merge ends cleanly, the last changes go out (bounded), vector and marker are written. */
  async #shutDown(parts: EngineParts): Promise<void> {
    const { db, log, settings } = this.#deps;
    const { publisher, merger, rejoin, hard } = parts;
    try {
      await merger.settled();
      if (this.#mayUpload && !rejoin.isPressing && !settings.receiveOnly) {
        await this.#flush(parts);
      }
    } catch (error) {
      log.warn(
        { error: errorText(error) },
        'the last local changes are not stored; the next start sends them',
      );
    }
    try {
      if (!hard.aborted) {
        await this.#persist(parts, { atStop: true });
      }
    } catch (error) {
      log.warn(
        { error: errorText(error) },
        'cannot write the sync state; the next start repeats some work',
      );
    }
    publisher.logUnsent();
    await db.close();
  }

  async #flush(parts: EngineParts): Promise<void> {
    const { publisher, hard } = parts;
    const { sleep } = this.#deps;
    publisher.policy.end();
    while (!hard.aborted) {
      await publisher.settled();
      const waitMs = await this.#publishStep(parts);
      if (publisher.idle) {
        return;
      }
      // Either an object is on its way, or the token bucket is empty.
      if (Number.isFinite(waitMs)) {
        await sleep(waitMs, hard);
      }
    }
  }
}

type EngineParts = {
  readonly publisher: Publisher;
  readonly receiver: Receiver;
  readonly merger: ObjectMerger;
  readonly tracker: VectorTracker;
  readonly rejoin: Rejoin;
  /** Aborts when even the shutdown's time is over. */
  readonly hard: AbortSignal;
};

function noop(): void {}
