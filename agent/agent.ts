import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { errorText, isAbortError } from '../protocol/errors.ts';
import { newRun } from '../protocol/object-name.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { AfterMergeHooks } from './after-merge/hooks.ts';
import { monitorWith } from './monitor/hooked-monitor.ts';
import { AgentStatus } from './monitor/agent-status.ts';
import { sleep } from './pacing/backoff.ts';
import { cleaningDeps } from './monitor/cleaner-monitor.ts';
import type { Config, DatabaseConfig } from './config/config.ts';
import type { DatabaseMonitor } from './monitor/database-monitor.ts';
import { guardEnvironments, type EnvironmentGuard } from './guard/environment-guard.ts';
import { DatabaseEngine } from './engine/database-engine.ts';
import { Semaphore } from './pacing/semaphore.ts';
import { Healthz, type HealthChecks } from './status/healthz.ts';
import { ChangeDetector } from './lmdb/change-detector.ts';
import { WorkerLocalDatabase } from './lmdb/thread/worker-client.ts';
import { logStatistics } from './monitor/lmdb-statistics.ts';
import { createLogger, type Logger } from './log/log.ts';
import { databaseOptions, engineSettings } from './member-settings.ts';
import { Metrics } from './monitor/metrics.ts';
import { NoticeHealth } from './monitor/notice-health.ts';
import { openNotices } from './notices/open.ts';
import type { NoticeSource } from './notices/watch.ts';
import { openObjectStore } from './open-store.ts';
import { readSmaps } from './monitor/smaps.ts';
import { StatusServer, type StatusServerDeps } from './status/server.ts';
import { sweepingDeps } from './monitor/sweeper-monitor.ts';
import { shown } from './monitor/status.ts';
import { systemClock } from './pacing/system-clock.ts';

export type RunOptions = {
  readonly receiveOnly: boolean;
  readonly onlyOnce: boolean;
  /** Sync begins only when this object is in the storage. */
  readonly waitForMarkerFile?: string | undefined;
  /** Empty: all. */
  readonly onlyDatabases: readonly string[];
  readonly signal: AbortSignal;
  readonly version: string;
};

/** The status page and the metrics show an LMDB as it was at most this long before they were asked. */
const STATS_MAX_AGE_MS = 1000;

/**
 * Runs one engine per database, and the status server, until `signal` aborts or, with only-once, until all are done.
 * Resolves after a clean stop. Rejects when something cannot be opened or an LMDB thread ends by itself; the others are
 * stopped cleanly first.
 */
export async function runAgent(config: Config, options: RunOptions): Promise<void> {
  const log = createLogger(config.log);
  const databases = selectDatabases(config, options.onlyDatabases);
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const noticeHealth = new NoticeHealth(config.health.storageList, Date.now);
  const status = new AgentStatus(config, { version: options.version, notices: noticeHealth });
  const metrics = new Metrics({
    status,
    storageType: config.storage.type,
    smaps: config.lmdbScrapeSmaps ? readSmaps : undefined,
  });
  const notices = await openNotices(config, {
    log,
    metrics: metrics.notices,
    health: noticeHealth,
    countRequest: (report) => status.countQueueRequest(report),
    onlyOnce: options.onlyOnce || config.onlyOnce,
  });
  const opened = await openObjectStore(config.storage, {
    signal,
    onRequest: (report) => {
      metrics.onRequest(report, Date.now());
      status.countRequest(report);
    },
    marker: notices.marker,
  });
  const store = notices.announcing(opened);
  const hooks = new AfterMergeHooks(config, { log, observer: metrics.hooks });
  let guard: EnvironmentGuard | undefined;
  try {
    await waitForMarker(store, { name: options.waitForMarkerFile, config, log, signal });
    if (!signal.aborted) {
      guard = await guardEnvironments(config, databases, log);
    }
    const shared = {
      store,
      metrics,
      hooks,
      log,
      run: newRun((size) => randomBytes(size)),
      memory: new Semaphore(config.memoryDownloadedSnapshots * databases.length),
      receiveOnly: options.receiveOnly,
      onlyOnce: options.onlyOnce || config.onlyOnce,
      onCrash: (error: Error) => stop.abort(error),
    };
    const members = databases.map(
      ([name, database]) => new Member(config, { name, database, shared }),
    );
    status.members = members;
    await using server = shared.onlyOnce
      ? undefined
      : createServer(config, {
          status,
          members,
          metrics,
          store,
          log,
          unwell: [noticeHealth, hooks, ...(guard === undefined ? [] : [guard])],
        });
    await server?.listen();
    await runMembers({ members, source: notices.source, log, stop, signal });
    await hooks.close();
  } finally {
    guard?.close();
    await store.close();
    notices.close();
  }
  // Asked to stop, this was a clean end; otherwise a member's failure is the reason.
  if (stop.signal.aborted && !isAbortError(stop.signal.reason)) {
    throw stop.signal.reason;
  }
}

/** undefined: none is configured. */
function createServer(
  config: Config,
  parts: Omit<StatusServerDeps, 'address' | 'debug' | 'healthz' | 'now'> & {
    readonly members: readonly Member[];
    /** What can be unwell besides the databases. */
    readonly unwell: readonly HealthChecks[];
  },
): StatusServer | undefined {
  const { address, debug } = config.http;
  if (address === '') {
    return undefined;
  }
  const { members, unwell, ...deps } = parts;
  const healthz = new Healthz({
    status: deps.status,
    health: [...unwell, ...members.map(({ monitor }) => monitor.health)],
    hostname: hostname(),
    reportStartup: config.health.start.reportMetadata,
    now: Date.now,
  });
  return new StatusServer({ ...deps, address, debug, healthz, now: Date.now });
}

type Shared = {
  readonly store: ObjectStore;
  readonly metrics: Metrics;
  readonly hooks: AfterMergeHooks;
  readonly log: Logger;
  readonly run: string;
  readonly memory: Semaphore;
  readonly receiveOnly: boolean;
  readonly onlyOnce: boolean;
  readonly onCrash: (error: Error) => void;
};

/** One database with its thread, its engine and what watches both. */
class Member {
  readonly name: string;
  readonly monitor: DatabaseMonitor;
  readonly engine: DatabaseEngine;
  readonly #db: WorkerLocalDatabase;
  readonly #detector: ChangeDetector;
  readonly #log: Logger;
  readonly #statsIntervalMs: number;
  #statsAtMs = Number.NEGATIVE_INFINITY;
  #statsComing = false;

  constructor(config: Config, parts: { name: string; database: DatabaseConfig; shared: Shared }) {
    const { name, database, shared } = parts;
    this.name = name;
    this.#log = shared.log.child({ db: name });
    this.#statsIntervalMs = config.lmdbLogStatsIntervalMs;
    const monitorDeps = {
      name,
      path: database.path,
      health: config.health,
      metrics: shared.metrics.syncer,
      log: this.#log,
      now: Date.now,
    };
    this.monitor = monitorWith(monitorDeps, shared.hooks);
    this.#db = new WorkerLocalDatabase(databaseOptions(config, parts), { onCrash: shared.onCrash });
    shared.hooks.register(name, this.#db);
    const { limits } = shared.metrics;
    const watching = { name, metrics: shared.metrics.syncer, log: this.#log };
    this.engine = new DatabaseEngine(
      {
        settings: engineSettings(config, parts),
        db: this.#db,
        store: shared.store,
        clock: systemClock,
        sleep,
        randomBytes: (size) => randomBytes(size),
        random: Math.random,
        log: this.#log,
        observer: this.monitor,
        cleaning: cleaningDeps(config, { ...watching, receiveOnly: shared.receiveOnly }),
        ...sweepingDeps(config, {
          ...watching,
          onRejoin: (rejoin) => this.monitor.rejoining(rejoin),
        }),
      },
      {
        memory: limits.measured(shared.memory, { lmdb: name, limit_name: 'download' }),
        merging: limits.measured(new Semaphore(1), { lmdb: name, limit_name: 'decompress' }),
      },
    );
    this.monitor.follow(this.engine);
    this.#detector = new ChangeDetector({
      path: database.options.noSubdir ? database.path : join(database.path, 'data.mdb'),
      pollIntervalMs: config.lmdbPollIntervalMs,
      onChange: (txnId) => this.engine.noteChange(txnId),
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    using detector = this.#detector;
    detector.start();
    const statsLog = this.#logStats(signal);
    try {
      await this.engine.run(signal);
    } finally {
      detector.close();
    }
    if (signal.aborted) {
      await statsLog;
    }
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

/** The engines, and the notice source that tells all of them; ends when all engines have ended. */
async function runMembers(parts: {
  members: readonly Member[];
  source: NoticeSource;
  log: Logger;
  stop: AbortController;
  signal: AbortSignal;
}): Promise<void> {
  const { members, source, log, stop, signal } = parts;
  const ended = new AbortController();
  const noticing = AbortSignal.any([signal, ended.signal]);
  log.info({ source: source.kind, databases: members.length }, 'starting');
  const notices = source
    .run((names) => {
      for (const member of members) {
        if (names === 'list') {
          member.engine.noteListing();
        } else {
          member.engine.noteNames(names.filter((name) => name.startsWith(`${member.name}__`)));
        }
      }
    }, noticing)
    .catch((error: unknown) => {
      if (!noticing.aborted) {
        stop.abort(error instanceof Error ? error : new Error(errorText(error)));
      }
    });
  await Promise.all(
    members.map(async (member) => {
      try {
        await member.run(signal);
      } catch (error) {
        // The first failure is the reason that is reported; the others stop cleanly.
        if (!signal.aborted) {
          stop.abort(error);
        }
      }
    }),
  );
  ended.abort();
  await notices;
}

function selectDatabases(config: Config, only: readonly string[]): [string, DatabaseConfig][] {
  const all = [...config.lmdbs];
  return only.length === 0 ? all : all.filter(([name]) => only.includes(name));
}

async function waitForMarker(
  store: ObjectStore,
  options: { name: string | undefined; config: Config; log: Logger; signal: AbortSignal },
): Promise<void> {
  const { name, config, log, signal } = options;
  if (name === undefined) {
    return;
  }
  log.info({ filename: name }, 'waiting for the marker file');
  while (!signal.aborted) {
    try {
      if ((await store.get(name, { signal, firstBytes: 1 })) !== undefined) {
        return;
      }
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      log.warn(
        { filename: name, error: errorText(error) },
        'cannot look for the marker file, trying again',
      );
    }
    await sleep(config.storagePollIntervalMs, signal).catch(() => undefined);
  }
}
