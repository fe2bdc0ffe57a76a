import { errorText, SyncError } from '../../protocol/errors.ts';
import { SHORTEST_RETENTION_MS } from '../../protocol/snapshot-meta.ts';
import { formatGoDuration } from '../../protocol/time.ts';
import type { Detection, OpenResult, ReopenOptions } from '../lmdb/local-database.ts';
import { ReportingDatabase } from '../lmdb/reporting-database.ts';
import { CLOCK_LOOK_MS, ClockWatch } from '../pacing/clock-watch.ts';
import { Semaphore, type EngineLimits } from '../pacing/semaphore.ts';
import { WatchedDatabase } from '../watchdog/watched-database.ts';
import { watchedLimit } from '../watchdog/watched-limit.ts';
import { WatchedStore } from '../watchdog/watched-store.ts';
import type { Loop } from '../watchdog/watchdog.ts';
import { runHousekeeping } from './housekeeping.ts';
import { ObjectMerger } from './object-merger.ts';
import { Persister } from './persister.ts';
import { PublishLoop } from './publish-loop.ts';
import { Publisher } from './publisher.ts';
import { ReceiveLoop } from './receive-loop.ts';
import { Receiver } from './receiver.ts';
import { StoredProof } from './proof/stored-proof.ts';
import { Rejoin } from './rejoin.ts';
import type { EngineDeps } from './types.ts';
import { VectorTracker } from './vector-tracker.ts';

/** Why another run must take over. */
type NextRun = {
  readonly reason: string;
  /** Somebody else may go on with the stream of this run: its objects are merged like anybody's. */
  readonly forgetsStream: boolean;
};

/**
 * One run of one database's engine, from its open LMDB on.
 *
 * What is not uploaded is known by then: the LMDB's first read transaction was scanned for it, and is the first pin,
 * so nothing committed in between is missed. A listing pass follows, own-instance objects first; when those are
 * merged or quarantined, uploads begin. Three loops run beside each other: one sends what changes locally, one
 * receives by notices and passes, one writes the bookkeeping. The LMDB work of all three is queued in the
 * database's worker.
 */
export class EngineRun {
  readonly tracker: VectorTracker;
  readonly publishLoop: PublishLoop;
  readonly receiveLoop: ReceiveLoop;
  readonly #deps: EngineDeps;
  readonly #publisher: Publisher;
  readonly #merger: ObjectMerger;
  readonly #rejoin: Rejoin;
  readonly #proof: StoredProof;
  readonly #persister: Persister;
  /** Aborts when even the shutdown's time is over. */
  readonly #hardStop = new AbortController();
  /** Aborts when another run must take over. */
  readonly #over = new AbortController();
  readonly #clockWatch: ClockWatch | undefined;
  #next: NextRun | undefined;

  /** Opens the LMDB, or what is at its path now. Rejects when that cannot be done. */
  static async open(
    deps: EngineDeps,
    limits: EngineLimits,
    again?: ReopenOptions,
  ): Promise<EngineRun> {
    // What any loop asks of the LMDB is also what its thread has to do.
    const db = new WatchedDatabase(deps.db, deps.watchdog.loop('lmdb'));
    const opened = await (again === undefined ? db.open() : db.reopen(again));
    return new EngineRun({ ...deps, db }, { limits, opened });
  }

  constructor(
    given: EngineDeps,
    { limits, opened }: { readonly limits: EngineLimits; readonly opened: OpenResult },
  ) {
    const db = new ReportingDatabase(given.db, {
      onDetection: (detection) => this.#noteDetection(detection),
      onFailure: (error) => this.#noteFailure(error),
    });
    const deps: EngineDeps = { ...given, db, beforeSend: (namedNs) => this.#requireGoing(namedNs) };
    this.#clockWatch = given.monotonicMs && new ClockWatch(given.clock, given.monotonicMs);
    this.#deps = deps;
    const { instance } = deps.settings;
    const tracker = new VectorTracker(opened.vector, { instance, was: opened.was });
    tracker.noteRejoinBefore(opened.rejoinBeforeNs);
    tracker.noteDropped(opened.droppedNs);
    const nowMs = () => Number(deps.clock.nowNs() / 1_000_000n);
    const proof = new StoredProof(opened.proof, { instance, nowMs, random: deps.random });
    this.#proof = proof;
    this.tracker = tracker;
    const receiving = watched(deps, 'receive');
    const publishing = watched(deps, 'publish');
    // What is on its way to the storage goes on while changes are looked at.
    const { store } = watched(deps, 'send');
    const publisher = new Publisher({ ...publishing, store }, { tracker, detection: opened });
    this.#publisher = publisher;
    this.#merger = new ObjectMerger(receiving, {
      tracker,
      limits: watchedLimits(limits, deps.watchdog.loop('receive')),
      onLooked: () => this.publishLoop.wakeIfDue(),
      onIdle: () => this.publishLoop.noteMergesEnded(),
    });
    const merger = this.#merger;
    this.#rejoin = new Rejoin(receiving, { merger, tracker, lastSyncNs: opened.lastSyncNs });
    const rejoin = this.#rejoin;
    const receiver = new Receiver(receiving, {
      tracker,
      merger,
      ownStream: publisher.ownStream,
      proof,
      onListed: (seen) => publisher.noteListed(seen),
      onManifest: ({ rejoinBeforeNs }) => rejoin.noteAnnounced(rejoinBeforeNs),
    });
    this.publishLoop = new PublishLoop(deps, {
      publisher,
      merger,
      rejoin,
      hard: this.#hardStop.signal,
    });
    this.receiveLoop = new ReceiveLoop(receiving, {
      publisher,
      receiver,
      merger,
      tracker,
      rejoin,
      proof,
      sending: this.publishLoop,
      bucketId: opened.bucketId,
    });
    this.#persister = new Persister(watched(deps, 'persist'), {
      tracker,
      proof,
      acknowledged: () => publisher.acknowledged,
      lastSyncNs: () => this.receiveLoop.lastSyncNs,
      onLooked: () => this.publishLoop.wakeIfDue(),
    });
    this.#noteDetection(opened);
    if (opened.uploadedTxn === undefined) {
      publisher.policy.requireFirst();
    }
  }

  /**
   * Runs until `signal` aborts (or, with only-once, until the receive loop has nothing more to wait for), then sends
   * the last changes within the shutdown timeout and closes the LMDB. Or until another run must take over: that one is
   * returned, and nothing more is sent.
   */
  async run(signal: AbortSignal): Promise<NextRun | undefined> {
    const { receiveLoop } = this;
    const housekeeping = {
      cleaning: watched(this.#deps, 'clean'),
      sweeping: watched(this.#deps, 'sweep'),
    };
    const finished = new AbortController();
    const running = AbortSignal.any([signal, finished.signal, this.#over.signal]);
    const loops = [
      this.#watchClock(running),
      this.publishLoop.run(running),
      receiveLoop.run(running).then(() => finished.abort()),
      this.#persister.run(running),
      runHousekeeping(housekeeping, {
        publisher: this.#publisher,
        merger: this.#merger,
        rejoin: this.#rejoin,
        isSynced: () => receiveLoop.lastSyncNs !== undefined && !this.#proof.isDue,
        isWhole: () => receiveLoop.isWhole,
        onDropped: (droppedNs) => this.tracker.noteDropped(droppedNs),
        lastPass: () => receiveLoop.lastPass,
        signal: running,
      }),
    ];
    try {
      await Promise.all(loops);
    } finally {
      finished.abort();
      await this.#end(loops);
    }
    if (this.#next !== undefined && signal.aborted) {
      await this.#deps.db.close();
      return undefined;
    }
    return this.#next;
  }

  /** The loops are told to end. */
  async #end(loops: readonly Promise<void>[]): Promise<void> {
    const { settings, sleep } = this.#deps;
    if (this.#next === undefined) {
      // What is being sent still has until the hard limit.
      const limit = new AbortController();
      void sleep(settings.shutdownTimeoutMs, limit.signal).then(
        () => this.#hardStop.abort(new Error('shutdown timeout')),
        () => undefined,
      );
      await Promise.allSettled(loops);
      // It may turn out only now.
      if (this.#next === undefined) {
        await this.#shutDown();
      }
      limit.abort();
    }
    this.#hardStop.abort(new Error('stopped'));
    await Promise.allSettled([...loops, this.#merger.settled(), this.#publisher.settled()]);
  }

  /** Ends this run; what it has sent stays, and what it has not is found by the next one. */
  #endFor(next: NextRun): void {
    if (this.#next === undefined) {
      this.#next = next;
      this.#over.abort();
      this.#hardStop.abort(new Error(next.reason));
    }
  }

  #noteFailure(error: unknown): void {
    if (error instanceof SyncError && error.code === 'ENVIRONMENT_REPLACED') {
      this.#endFor({ reason: errorText(error), forgetsStream: false });
    }
  }

  /**
   * Throws when another run must take over, and finds out whether one must. `namedNs`: the time in the name of the object
   * that is about to be stored. Named too long ago, it would pass for one that came back after tombstones were dropped.
   */
  #requireGoing(namedNs?: bigint): void {
    const { clock, sweeping } = this.#deps;
    const quarterNs =
      BigInt(Math.round(sweeping?.settings.retentionMs ?? SHORTEST_RETENTION_MS)) * 250_000n;
    if (namedNs !== undefined && clock.nowNs() - namedNs > quarterNs) {
      const reason = 'an object could not be stored for a quarter of the tombstone retention';
      this.#endFor({ reason, forgetsStream: false });
    }
    const setByMs = this.#clockWatch?.look();
    if (setByMs !== undefined) {
      const reason = `the clock was set by ${formatGoDuration(setByMs)}: this may be a copy of a running machine`;
      this.#endFor({ reason, forgetsStream: true });
    }
    if (this.#next !== undefined) {
      throw new Error(this.#next.reason);
    }
  }

  async #watchClock(signal: AbortSignal): Promise<void> {
    if (this.#clockWatch === undefined) {
      return;
    }
    try {
      while (!signal.aborted) {
        this.#requireGoing();
        await this.#deps.sleep(CLOCK_LOOK_MS, signal);
      }
    } catch {
      // Aborted, or over: whoever waits for the loops knows.
    }
  }

  /** Every look at the LMDB comes by here, whoever took it, before the call that took it resolves. */
  #noteDetection(detection: Detection): void {
    this.publishLoop.noteDetection(detection);
    if (!detection.vectorForgotten) {
      return;
    }
    this.#deps.log.warn(
      {},
      'the LMDB may lack something of what was merged before; merging the whole bucket again',
    );
    this.tracker.noteEmptied();
    if (detection.leftOutSinceNs !== undefined) {
      this.receiveLoop.noteLeftOutSince(detection.leftOutSinceNs);
    }
    this.receiveLoop.noteListing();
  }

  /** The running merge ends cleanly, the last changes go out (bounded), vector and marker are written. */
  async #shutDown(): Promise<void> {
    const { db, log } = this.#deps;
    try {
      await this.#merger.settled();
      await this.publishLoop.flush();
    } catch (error) {
      log.warn(
        { error: errorText(error) },
        'the last local changes are not stored; the next start sends them',
      );
    }
    try {
      if (!this.#hardStop.signal.aborted) {
        await this.#persister.persist({ atStop: true });
      }
    } catch (error) {
      log.warn(
        { error: errorText(error) },
        'cannot write the sync state; the next start repeats some work',
      );
    }
    this.#publisher.logUnsent();
    await db.close();
  }
}

/** The same, for the loop of this name: whatever that waits for in the LMDB and in the storage is known. */
function watched(deps: EngineDeps, name: string): EngineDeps {
  const loop = deps.watchdog.loop(name);
  return {
    ...deps,
    db: new WatchedDatabase(deps.db, loop),
    store: new WatchedStore(deps.store, loop),
  };
}

function watchedLimits({ memory, merging }: EngineLimits, loop: Loop): EngineLimits {
  return {
    memory: watchedLimit(memory, loop, 'a download place'),
    merging: watchedLimit(merging ?? new Semaphore(1), loop, 'its turn to merge'),
  };
}
