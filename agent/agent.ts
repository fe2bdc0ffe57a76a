import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { errorText, isAbortError } from '../protocol/errors.ts';
import { newRun } from '../protocol/object-name.ts';
import { KeyReload } from '../storage/http/key-reload.ts';
import { isStored } from '../storage/is-stored.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { createHealthz, longestListIntervalMs, watchHealth } from './status/agent-health.ts';
import { AfterMergeHooks } from './after-merge/hooks.ts';
import type { Config, ParsedConfig } from './config/config.ts';
import { selectDatabases } from './config/select-databases.ts';
import { guardEnvironments, type EnvironmentGuard } from './guard/environment-guard.ts';
import type { HealthChecks } from './watchdog/health-check.ts';
import type { ConfigurableLogger, Logger } from './log/log.ts';
import { RepeatedLines } from './log/repeated-lines.ts';
import { Member } from './member/member.ts';
import { AgentStatus } from './monitor/agent-status.ts';
import { Metrics } from './monitor/metrics.ts';
import { NoticeHealth } from './monitor/notice-health.ts';
import { NoticeMonitor } from './monitor/notice-monitor.ts';
import { readSmaps } from './monitor/smaps.ts';
import { openNotices, type Notices } from './notices/open.ts';
import type { NoticeSource } from './notices/source.ts';
import { openPlainStore } from './open-store.ts';
import { sleep } from './pacing/sleep.ts';
import { unfinished } from './pacing/unfinished.ts';
import type { SignalSource } from './process/signals.ts';
import { ConfigReload } from './process/reload.ts';
import { logStart, logStatus, logStop, RunTotals, unsentOf } from './process/run-lines.ts';
import { prepareSpoolFolder } from './spool.ts';
import type { Healthz } from './status/healthz.ts';
import { StatusServer, type StatusServerDeps } from './status/server.ts';

const NOT_BEGUN = 'stopped before syncing began';

export type RunOptions = {
  readonly receiveOnly: boolean;
  readonly onlyOnce: boolean;
  /** Sync begins only when this object is in the storage. */
  readonly waitForMarkerFile?: string | undefined;
  /** Names in the configuration. Empty: all. */
  readonly onlyDatabases: readonly string[];
  readonly signal: AbortSignal;
  readonly version: string;
  readonly log: ConfigurableLogger;
  /** Signals that ask for something else than the end; not given: none does. */
  readonly signals?: SignalSource | undefined;
  /** Reads the configuration again, with the same flags. Throws CONFIG_INVALID. */
  readonly reload: () => ParsedConfig;
};

/**
 * Runs one engine per database, and the status server, until `signal` aborts or, with only-once, until all are done.
 * Resolves after a clean stop. Rejects when something cannot be opened or an LMDB thread ends by itself; the others are
 * stopped cleanly first. Errors besides: USAGE for a database that is not configured.
 */
export async function runAgent(config: Config, options: RunOptions): Promise<void> {
  const { log } = options;
  const databases = selectDatabases(config, options.onlyDatabases);
  await prepareSpoolFolder(config.spoolFolder || tmpdir());
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  if (signal.aborted) {
    log.info({}, NOT_BEGUN);
    return;
  }
  const opened = await open(config, options, signal);
  const { status, metrics, notices, noticeHealth, hooks, unwell, onlyOnce } = opened;
  const { store, source } = notices;
  const totals = new RunTotals();
  let guard: EnvironmentGuard | undefined;
  let ended: 'clean' | 'left' = 'clean';
  try {
    await waitForMarker(store, { name: options.waitForMarkerFile, config, log, signal });
    if (signal.aborted) {
      log.info({}, NOT_BEGUN);
      return;
    }
    guard = await guardEnvironments(config, databases, log);
    const shared = {
      store,
      metrics,
      hooks,
      log,
      run: newRun((size) => randomBytes(size)),
      receiveOnly: options.receiveOnly,
      onlyOnce,
      totals,
      onCrash: (error: Error) => stop.abort(error),
    };
    const members = databases.map(
      ([name, database]) => new Member(config, { name, database, shared }),
    );
    status.members = members;
    unwell.push(guard, ...members.map(({ monitor }) => monitor.health));
    const { version, receiveOnly } = options;
    await using server = onlyOnce ? undefined : createServer(config, { ...opened, store, log });
    await server?.listen();
    logStart(log, config, { version, databases, source: source.kind, receiveOnly });
    noticeHealth.expectsLists(longestListIntervalMs(config));
    using _watch = watchHealth(opened.healthz, { members, log });
    ended = await runMembers({ members, source, noticeHealth, stop, signal });
    if (ended === 'clean') {
      await hooks.close();
    }
  } finally {
    guard?.close();
    await notices.close();
  }
  // Asked to stop, this was a clean end; otherwise a member's failure is the reason.
  if (stop.signal.aborted && !isAbortError(stop.signal.reason)) {
    throw stop.signal.reason;
  }
  if (ended === 'clean') {
    logStop(log, { totals, unsent: unsentOf(status.databases()), startedMs: status.startedMs });
  }
}

/** The storage with its notices, and all that watches a run; from here on signals are served. */
async function open(config: Config, options: RunOptions, signal: AbortSignal): Promise<Opened> {
  const { log, version } = options;
  const onlyOnce = options.onlyOnce || config.onlyOnce;
  const noticeHealth = new NoticeHealth(config.health.storageList, Date.now);
  const status = new AgentStatus(config, { version, notices: noticeHealth });
  const metrics = new Metrics({
    status,
    storageType: config.storage.type,
    smaps: config.lmdbScrapeSmaps ? readSmaps : undefined,
    hooks: [...config.afterMerge.keys()],
  });
  const keyReload = new KeyReload();
  const reload = new ConfigReload(config, { load: options.reload, log, keys: keyReload });
  const notices = await openNotices(config, {
    store: await openPlainStore(config.storage, {
      signal,
      keyReload,
      onRequest: (report) => {
        metrics.onRequest(report, Date.now());
        status.countRequest(report);
      },
    }),
    log,
    observer: new NoticeMonitor({ health: noticeHealth, metrics: metrics.notices, status }),
    onlyOnce,
    keyReload,
  });
  const hooks = new AfterMergeHooks(config, { log, observer: metrics.hooks });
  const unwell: HealthChecks[] = [noticeHealth, hooks, reload];
  const healthz = createHealthz(config, { status, unwell });
  metrics.watchHealth((databases) => healthz.checks(databases));
  options.signals?.serve({
    reload: () => reload.reload(),
    status: () => sayStatus(log, status, healthz),
  });
  return { status, metrics, notices, noticeHealth, hooks, unwell, healthz, onlyOnce };
}

type Opened = {
  readonly status: AgentStatus;
  readonly metrics: Metrics;
  readonly notices: Notices;
  readonly noticeHealth: NoticeHealth;
  readonly hooks: AfterMergeHooks;
  /** What can be unwell; grows as the run begins. */
  readonly unwell: HealthChecks[];
  readonly healthz: Healthz;
  readonly onlyOnce: boolean;
};

function sayStatus(log: Logger, status: AgentStatus, healthz: Healthz): void {
  const databases = status.databases();
  const trouble = healthz.checks(databases).map(({ name }) => name);
  logStatus(log, databases, { startedMs: status.startedMs, trouble });
}

/** undefined: none is configured. */
function createServer(
  { http: { address, debug } }: Config,
  {
    status,
    metrics,
    healthz,
    store,
    log,
  }: Pick<StatusServerDeps, 'status' | 'metrics' | 'healthz' | 'store' | 'log'>,
): StatusServer | undefined {
  return address === ''
    ? undefined
    : new StatusServer({ status, metrics, healthz, store, log, address, debug, now: Date.now });
}

/**
 * The engines, and the notice source that tells all of them; ends when all engines have ended. Resolves with "left"
 * where a thread could not be waited for.
 */
async function runMembers(parts: {
  members: readonly Member[];
  source: NoticeSource;
  noticeHealth: NoticeHealth;
  stop: AbortController;
  signal: AbortSignal;
}): Promise<'clean' | 'left'> {
  const { members, source, noticeHealth, stop, signal } = parts;
  const ended = new AbortController();
  const noticing = AbortSignal.any([signal, ended.signal]);
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
  const ends = await Promise.all(
    members.map(async (member) => {
      try {
        return await member.run(signal);
      } catch (error) {
        // The first failure is the reason that is reported; the others stop cleanly.
        if (!signal.aborted) {
          stop.abort(error);
        }
        return 'clean';
      }
    }),
  );
  ended.abort();
  await notices;
  return ends.includes('left') ? 'left' : 'clean';
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
  const found = unfinished.begin(`the marker file ${name}, which the storage does not have`);
  while (!signal.aborted) {
    try {
      if (await isStored(store, name, signal)) {
        found();
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
