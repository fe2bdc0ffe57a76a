import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { errorText, isAbortError } from '../protocol/errors.ts';
import { newRun } from '../protocol/object-name.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { AfterMergeHooks } from './after-merge/hooks.ts';
import type { Config } from './config/config.ts';
import { selectDatabases } from './config/select-databases.ts';
import { guardEnvironments, type EnvironmentGuard } from './guard/environment-guard.ts';
import type { HealthChecks } from './health-check.ts';
import { createLogger, type Logger } from './log/log.ts';
import { RepeatedLines } from './log/repeated-lines.ts';
import { Member } from './member.ts';
import { AgentStatus } from './monitor/agent-status.ts';
import { HealthLog } from './monitor/health-log.ts';
import { Metrics } from './monitor/metrics.ts';
import { NoticeHealth } from './monitor/notice-health.ts';
import { NoticeMonitor } from './monitor/notice-monitor.ts';
import { readSmaps } from './monitor/smaps.ts';
import { openNotices } from './notices/open.ts';
import type { NoticeSource } from './notices/source.ts';
import { findMarkerOptions, openPlainStore } from './open-store.ts';
import { Semaphore } from './pacing/semaphore.ts';
import { sleep } from './pacing/sleep.ts';
import { Healthz } from './status/healthz.ts';
import { StatusServer, type StatusServerDeps } from './status/server.ts';

/** How often the agent looks at its own health. */
const HEALTH_INTERVAL_MS = 10_000;

export type RunOptions = {
  readonly receiveOnly: boolean;
  readonly onlyOnce: boolean;
  /** Sync begins only when this object is in the storage. */
  readonly waitForMarkerFile?: string | undefined;
  /** Names in the configuration. Empty: all. */
  readonly onlyDatabases: readonly string[];
  readonly signal: AbortSignal;
  readonly version: string;
};

/**
 * Runs one engine per database, and the status server, until `signal` aborts or, with only-once, until all are done.
 * Resolves after a clean stop. Rejects when something cannot be opened or an LMDB thread ends by itself; the others are
 * stopped cleanly first. Errors besides: USAGE for a database that is not configured.
 */
export async function runAgent(config: Config, options: RunOptions): Promise<void> {
  const log = createLogger(config.log);
  const databases = selectDatabases(config, options.onlyDatabases);
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const noticeHealth = new NoticeHealth(config.health.storageList, Date.now);
  const status = new AgentStatus(config, { version: options.version, notices: noticeHealth });
  const metrics = createMetrics(config, status);
  const onlyOnce = options.onlyOnce || config.onlyOnce;
  const notices = await openNotices(config, {
    store: await openPlainStore(config.storage, {
      signal,
      onRequest: (report) => {
        metrics.onRequest(report, Date.now());
        status.countRequest(report);
      },
    }),
    log,
    observer: new NoticeMonitor({ health: noticeHealth, metrics: metrics.notices, status }),
    onlyOnce,
  });
  const { store } = notices;
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
      onlyOnce,
      onCrash: (error: Error) => stop.abort(error),
    };
    const members = databases.map(
      ([name, database]) => new Member(config, { name, database, shared }),
    );
    status.members = members;
    const healthz = createHealthz(config, {
      status,
      health: [noticeHealth, hooks, ...(guard === undefined ? [] : [guard])],
      members,
    });
    metrics.watchHealth((checked) => healthz.checks(checked));
    await using server = onlyOnce
      ? undefined
      : createServer(config, { status, healthz, metrics, store, log });
    await server?.listen();
    noticeHealth.expectsLists(longestListIntervalMs(config));
    using _watch = watchHealth(members, healthz, log);
    await runMembers({ members, source: notices.source, noticeHealth, log, stop, signal });
    await hooks.close();
  } finally {
    guard?.close();
    await notices.close();
  }
  // Asked to stop, this was a clean end; otherwise a member's failure is the reason.
  if (stop.signal.aborted && !isAbortError(stop.signal.reason)) {
    throw stop.signal.reason;
  }
}

function createMetrics(config: Config, status: AgentStatus): Metrics {
  return new Metrics({
    status,
    storageType: config.storage.type,
    smaps: config.lmdbScrapeSmaps ? readSmaps : undefined,
    hooks: [...config.afterMerge.keys()],
  });
}

/** undefined: none is configured. */
function createServer(
  config: Config,
  parts: Omit<StatusServerDeps, 'address' | 'debug' | 'now'>,
): StatusServer | undefined {
  const { address, debug } = config.http;
  return address === '' ? undefined : new StatusServer({ ...parts, address, debug, now: Date.now });
}

function createHealthz(
  config: Config,
  parts: {
    readonly status: AgentStatus;
    /** What can be unwell besides the databases. */
    readonly health: readonly HealthChecks[];
    readonly members: readonly Member[];
  },
): Healthz {
  const { status, health, members } = parts;
  return new Healthz({
    status,
    health: [...health, ...members.map(({ monitor }) => monitor.health)],
    hostname: hostname(),
    errorAfterMs: config.health.storageLoad.errorDurationMs,
    reportStartup: config.health.start.reportMetadata,
    now: Date.now,
  });
}

/** Looks at the health by itself: what lasts must be known, and logged, also where nobody asks. */
function watchHealth(members: readonly Member[], healthz: Healthz, log: Logger): Disposable {
  const lines = new HealthLog(log);
  // Not by AgentStatus: that would look at the LMDBs each time.
  const timer = setInterval(
    () => lines.note(healthz.checks(members.map(({ monitor }) => monitor.status()))),
    HEALTH_INTERVAL_MS,
  );
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Every notice source asks for a listing at least this often. */
function longestListIntervalMs(config: Config): number {
  const marker = findMarkerOptions(config.storage);
  return Math.max(
    config.storagePollIntervalMs,
    config.storageSafetyListIntervalMs,
    marker?.forceListIntervalMs ?? 0,
  );
}

/** The engines, and the notice source that tells all of them; ends when all engines have ended. */
async function runMembers(parts: {
  members: readonly Member[];
  source: NoticeSource;
  noticeHealth: NoticeHealth;
  log: Logger;
  stop: AbortController;
  signal: AbortSignal;
}): Promise<void> {
  const { members, source, noticeHealth, log, stop, signal } = parts;
  const ended = new AbortController();
  const noticing = AbortSignal.any([signal, ended.signal]);
  log.info({ source: source.kind, databases: members.length }, 'starting');
  const notices = source
    .run((names) => {
      if (names === 'list') {
        noticeHealth.listAsked();
      }
      for (const member of members) {
        if (names === 'list') {
          member.engine.noteListing();
        } else {
          member.engine.noteNames(names.filter((name) => name.startsWith(`${member.name}__`)));
        }
      }
    }, noticing)
    .then(() => assert(noticing.aborted, 'the notice source ended by itself'))
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

async function waitForMarker(
  store: ObjectStore,
  options: { name: string | undefined; config: Config; log: Logger; signal: AbortSignal },
): Promise<void> {
  const { name, config, log, signal } = options;
  if (name === undefined) {
    return;
  }
  log.info({ filename: name }, 'waiting for the marker file');
  const lines = new RepeatedLines(log, Date.now);
  while (!signal.aborted) {
    try {
      if ((await store.get(name, { signal, firstBytes: 1 })) !== undefined) {
        return;
      }
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      lines.warn(
        'marker',
        { filename: name, error: errorText(error) },
        'cannot look for the marker file, trying again',
      );
    }
    await sleep(config.storagePollIntervalMs, signal).catch(() => undefined);
  }
}
