import { randomBytes } from 'node:crypto';
import { hostname, tmpdir } from 'node:os';
import { errorText, isAbortError } from '../protocol/errors.ts';
import { newRun } from '../protocol/object-name.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import { AfterMergeHooks } from './after-merge/hooks.ts';
import type { Config } from './config/config.ts';
import { selectDatabases } from './config/select-databases.ts';
import { guardEnvironments, type EnvironmentGuard } from './guard/environment-guard.ts';
import type { HealthChecks } from './health-check.ts';
import { createLogger, type Logger } from './log/log.ts';
import { Member } from './member.ts';
import { AgentStatus } from './monitor/agent-status.ts';
import { Metrics } from './monitor/metrics.ts';
import { NoticeHealth } from './monitor/notice-health.ts';
import { NoticeMonitor } from './monitor/notice-monitor.ts';
import { readSmaps } from './monitor/smaps.ts';
import { openNotices } from './notices/open.ts';
import type { NoticeSource } from './notices/source.ts';
import { openPlainStore } from './open-store.ts';
import { sleep } from './pacing/sleep.ts';
import { prepareSpoolFolder } from './spool.ts';
import { Healthz } from './status/healthz.ts';
import { StatusServer, type StatusServerDeps } from './status/server.ts';

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
  await prepareSpoolFolder(config.spoolFolder || tmpdir());
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const noticeHealth = new NoticeHealth(config.health.storageList, Date.now);
  const status = new AgentStatus(config, { version: options.version, notices: noticeHealth });
  const metrics = new Metrics({
    status,
    storageType: config.storage.type,
    smaps: config.lmdbScrapeSmaps ? readSmaps : undefined,
  });
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
      receiveOnly: options.receiveOnly,
      onlyOnce,
      onCrash: (error: Error) => stop.abort(error),
    };
    const members = databases.map(
      ([name, database]) => new Member(config, { name, database, shared }),
    );
    status.members = members;
    await using server = onlyOnce
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
    await notices.close();
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
    errorAfterMs: config.health.storageLoad.errorDurationMs,
    reportStartup: config.health.start.reportMetadata,
    now: Date.now,
  });
  return new StatusServer({ ...deps, address, debug, healthz, now: Date.now });
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
