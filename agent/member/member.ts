import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { errorText } from '../../protocol/errors.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import type { AfterMergeHooks } from '../after-merge/hooks.ts';
import { MergeWatch } from '../after-merge/merge-watch.ts';
import type { Config, DatabaseConfig } from '../config/config.ts';
import { DatabaseEngine } from '../engine/database-engine.ts';
import { lockPathOf } from '../guard/lock-table.ts';
import { findWriteLockHolder } from '../guard/write-lock-holder.ts';
import { ThreadActivity } from '../lmdb/thread-activity.ts';
import { ChangeDetector } from '../lmdb/change-detector.ts';
import { WorkerLocalDatabase } from '../lmdb/thread/worker-client.ts';
import type { Logger } from '../log/log.ts';
import { cleaningDeps, databaseOptions, engineSettings, sweepingDeps } from './settings.ts';
import { DatabaseMonitor } from '../monitor/database/database-monitor.ts';
import { logStatistics } from '../monitor/lmdb-statistics.ts';
import type { Metrics } from '../monitor/metrics.ts';
import { shown } from '../monitor/status.ts';
import { SyncObservers } from '../monitor/sync-observers.ts';
import { Semaphore, type EngineLimits } from '../pacing/semaphore.ts';
import { sleep, slept } from '../pacing/sleep.ts';
import { systemClock } from '../pacing/system-clock.ts';
import { unfinished } from '../pacing/unfinished.ts';
import type { RunTotals } from '../process/run-lines.ts';
import { Watchdog } from '../watchdog/watchdog.ts';

/** The status page and the metrics show an LMDB as it was at most this long before they were asked. */
const STATS_MAX_AGE_MS = 1000;

/** After `shutdown_timeout` an upload is ended, and the LMDB closed; neither takes longer. */
const CLOSE_MS = 2000;

/** What all databases of a run share. */
export type Shared = {
  readonly store: ObjectStore;
  readonly metrics: Metrics;
  readonly hooks: AfterMergeHooks;
  readonly log: Logger;
  readonly run: string;
  readonly receiveOnly: boolean;
  readonly onlyOnce: boolean;
  readonly totals: RunTotals;
  readonly onCrash: (error: Error) => void;
};

/** One database with its thread, its engine and what watches both. */
export class Member {
  readonly name: string;
  readonly monitor: DatabaseMonitor;
  readonly engine: DatabaseEngine;
  readonly #db: WorkerLocalDatabase;
  readonly #detector: ChangeDetector;
  readonly #log: Logger;
  readonly #statsIntervalMs: number;
  readonly #stopMs: number;
  #statsAtMs = Number.NEGATIVE_INFINITY;
  #statsComing = false;

  constructor(config: Config, parts: { name: string; database: DatabaseConfig; shared: Shared }) {
    const { name, database, shared } = parts;
    this.name = name;
    this.#log = shared.log.child({ db: name });
    this.#statsIntervalMs = config.lmdbLogStatsIntervalMs;
    this.#stopMs = config.shutdownTimeoutMs + CLOSE_MS;
    const watchdog = new Watchdog(() => performance.now());
    this.monitor = new DatabaseMonitor({
      name,
      path: database.path,
      health: config.health,
      metrics: shared.metrics.syncer,
      log: this.#log,
      now: Date.now,
      watchdog,
    });
    // Only where a hook is for this database: what merges wrote need not be known else.
    const watch = shared.hooks.concern(name)
      ? new MergeWatch((touched) => shared.hooks.note(name, touched))
      : undefined;
    const options = databaseOptions(config, parts);
    this.#db = new WorkerLocalDatabase(
      { ...options, activity: watchThread(watchdog, lockPathOf(options)) },
      { onCrash: shared.onCrash },
    );
    shared.hooks.register(name, this.#db);
    const watching = { name, metrics: shared.metrics.syncer, log: this.#log };
    this.engine = new DatabaseEngine(
      {
        settings: engineSettings(config, parts),
        db: this.#db,
        store: shared.store,
        clock: systemClock,
        monotonicMs: () => performance.now(),
        sleep,
        randomBytes: (size) => randomBytes(size),
        random: Math.random,
        log: this.#log,
        watchdog,
        observer: new SyncObservers([
          this.monitor,
          shared.totals,
          ...(watch === undefined ? [] : [watch]),
        ]),
        cleaning: cleaningDeps(config, { ...watching, receiveOnly: shared.receiveOnly }),
        ...sweepingDeps(config, {
          ...watching,
          onRejoin: (rejoin) => {
            this.monitor.rejoining(rejoin);
            if (rejoin === undefined) {
              watch?.rejoined();
            }
          },
        }),
      },
      engineLimits(config, name, shared.metrics),
    );
    this.monitor.follow(this.engine);
    this.#detector = new ChangeDetector({
      path: database.options.noSubdir ? database.path : join(database.path, 'data.mdb'),
      pollIntervalMs: config.lmdbPollIntervalMs,
      onChange: (txnId) => this.engine.noteChange(txnId),
      onReplaced: () => this.engine.noteReplaced(),
    });
  }

  /**
   * Runs the engine until it has ended. Resolves with "left" where its thread does not end in the time that a stop
   * has: another program holds the write lock, and nothing but the process' end ends such a wait.
   */
  async run(signal: AbortSignal): Promise<'clean' | 'left'> {
    using detector = this.#detector;
    detector.start();
    const statsLog = this.#logStats(signal);
    const over = new AbortController();
    const engine = this.engine.run(signal).finally(() => over.abort());
    try {
      if (await isLeft(over.signal, { signal, limitMs: this.#stopMs })) {
        // Whatever becomes of it, nobody waits for it any more.
        engine.catch(() => undefined);
        this.#log.error(
          { waiting_for: unfinished.describe() },
          'stopped without waiting for the LMDB: another program holds its write lock; the next start sends what is left',
        );
        return 'left';
      }
      await engine;
    } finally {
      detector.close();
    }
    if (signal.aborted) {
      await statsLog;
    }
    return 'clean';
  }

  /** Asks for a fresh look at the LMDB, in the background; what is there now is at most a look old. */
  refreshStats(): void {
    const nowMs = Date.now();
    if (this.#statsComing || nowMs - this.#statsAtMs < STATS_MAX_AGE_MS) {
      return;
    }
    this.#statsComing = true;
    this.#db.stats().then(
      (stats) => {
        this.monitor.looked(shown(stats));
        this.#statsAtMs = nowMs;
        this.#statsComing = false;
      },
      // Not open yet, or not any more: the page shows what it had.
      () => {
        this.#statsComing = false;
      },
    );
  }

  async #logStats(signal: AbortSignal): Promise<void> {
    if (this.#statsIntervalMs === 0) {
      return;
    }
    while (!signal.aborted) {
      try {
        await sleep(this.#statsIntervalMs, signal);
        const stats = shown(await this.#db.stats());
        this.monitor.looked(stats);
        logStatistics(this.#log, stats);
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        this.#log.warn({ error: errorText(error) }, 'cannot read LMDB statistics');
      }
    }
  }
}

/** The memory in which the LMDB's thread says what it is doing; the watchdog asks there. */
function watchThread(watchdog: Watchdog, lockPath: string): SharedArrayBuffer {
  const activity = new ThreadActivity();
  watchdog.probe('lmdb', {
    beats: () => activity.beats,
    waitsFor: () => {
      if (!activity.isWaitingForLock) {
        return undefined;
      }
      const holder = findWriteLockHolder(lockPath);
      return holder === undefined ? 'the write lock' : `the write lock, held by ${holder}`;
    },
  });
  return activity.buffer;
}

/** Resolves with false at `over`; with true where that does not come within `limitMs` after `signal`. */
async function isLeft(
  over: AbortSignal,
  { signal, limitMs }: { signal: AbortSignal; limitMs: number },
): Promise<boolean> {
  await aborted(AbortSignal.any([over, signal]));
  return over.aborted ? false : slept(sleep, limitMs, over);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
    } else {
      signal.addEventListener('abort', () => resolve(), { once: true });
    }
  });
}

/** How much an engine may do at once. */
function engineLimits(config: Config, name: string, { limits }: Metrics): EngineLimits {
  return {
    // Its own: while one database's write lock is held, the others go on.
    memory: limits.measured(new Semaphore(config.memoryDownloadedSnapshots), {
      lmdb: name,
      limit_name: 'download',
    }),
    merging: limits.measured(new Semaphore(1), { lmdb: name, limit_name: 'decompress' }),
  };
}
