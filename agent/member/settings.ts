import { hostname, tmpdir } from 'node:os';
import { TOUCHED_KEYS_MAX } from '../after-merge/hook.ts';
import type { AfterMergeHooks } from '../after-merge/hooks.ts';
import type { Config, DatabaseConfig } from '../config/config.ts';
import type { EngineDeps, EngineSettings } from '../engine/types.ts';
import type { DatabaseOptions } from '../lmdb/local-database.ts';
import { CleanerMonitor, type CleanerMonitorDeps } from '../monitor/cleaner-monitor.ts';
import { SweeperMonitor, type SweeperMonitorDeps } from '../monitor/sweeper-monitor.ts';

/** A hundred thousand changed keys and more; beyond that a scan of the headers is no slower. */
const PENDING_BYTES_MAX = 16 * 1024 * 1024;
/** Vector and marker lag behind the uploads at most this long (the design allows a minute). */
const PERSIST_INTERVAL_MS = 30_000;
/** Objects of one database that are fetched ahead of merging. */
const READ_AHEAD = 4;
const DAY_MS = 24 * 3_600_000;
/** A shorter retention would make hosts rejoin after every restart: the last sync is written once an hour at least. */
const MIN_RETENTION_MS = 4 * 3_600_000;

/** What all databases of a run have in common. */
type SharedSettings = {
  readonly run: string;
  readonly receiveOnly: boolean;
  readonly onlyOnce: boolean;
  readonly hooks: AfterMergeHooks;
};

/** How the engine of a database is to behave. */
export function engineSettings(
  config: Config,
  { name, shared }: { name: string; shared: SharedSettings },
): EngineSettings {
  const isLocal = config.storage.type === 'fs' || config.storage.type === 'memory';
  return {
    database: name,
    instance: config.instance,
    run: shared.run,
    receiveOnly: shared.receiveOnly,
    onlyOnce: shared.onlyOnce,
    upstreamReaders: config.upstreamReaders,
    upstreamSnapshotMinIntervalMs: config.upstreamSnapshotMinIntervalMs,
    forceSnapshotIntervalMs: shared.receiveOnly ? 0 : config.storageForceSnapshotIntervalMs,
    maxDeltas: config.fullSnapshotMaxDeltas,
    maxDeltaFraction: config.fullSnapshotMaxDeltaFraction,
    retryIntervalMs: config.storageRetryIntervalMs,
    // Requests to a file system cost nothing.
    uploadMinIntervalMs: isLocal ? 0 : config.uploadMinIntervalMs,
    uploadBurst: config.uploadBurst,
    persistIntervalMs: PERSIST_INTERVAL_MS,
    shutdownTimeoutMs: config.shutdownTimeoutMs,
    spoolMemoryBytes: config.memorySpoolBytes,
    spoolFolder: config.spoolFolder || tmpdir(),
    downloadConcurrency: READ_AHEAD,
  };
}

/** How the LMDB of a database is to be opened. */
export function databaseOptions(
  config: Config,
  parts: { name: string; database: DatabaseConfig; shared: SharedSettings },
): DatabaseOptions {
  const { name, database, shared } = parts;
  const { noSubdir, create, dirMask, fileMask, mapSizeBytes, maxDbs } = database.options;
  return {
    name,
    path: database.path,
    noSubdir,
    create,
    dirMask,
    fileMask,
    mapSizeBytes,
    maxDbs,
    instance: config.instance,
    hostname: hostname(),
    run: shared.run,
    schemaTracksChanges: database.schemaTracksChanges,
    schemaCheck: database.schemaCheck,
    allowSchemaUpgrade: database.allowSchemaUpgrade,
    dupsortHack: database.dupsortHack,
    createFlags: createFlags(database),
    headerPadding: database.headerExtraPaddingBlock,
    maxLockHoldMs: config.maxLockHoldMs,
    maxClockSkewMs: config.maxClockSkewMs,
    spoolFolder: config.spoolFolder || tmpdir(),
    spoolMemoryBytes: config.memorySpoolBytes,
    pendingBytesMax: PENDING_BYTES_MAX,
    touchedKeysMax: shared.hooks.concern(name) ? TOUCHED_KEYS_MAX : undefined,
  };
}

function createFlags({ dbiOptions }: DatabaseConfig): Record<string, number> {
  const flags: Record<string, number> = {};
  for (const [dbi, { overrideCreateFlags }] of dbiOptions) {
    if (overrideCreateFlags !== undefined) {
      flags[dbi] = overrideCreateFlags;
    }
  }
  return flags;
}

/** The engine's part that cleans, where the configuration wants one; an agent that only receives deletes nothing. */
export function cleaningDeps(
  { storage: { cleanup } }: Config,
  deps: CleanerMonitorDeps & { readonly receiveOnly: boolean },
): EngineDeps['cleaning'] {
  if (!cleanup.enabled || deps.receiveOnly) {
    return undefined;
  }
  return {
    settings: {
      intervalMs: cleanup.intervalMs,
      mustKeepMs: cleanup.mustKeepIntervalMs,
      removeOldInstancesMs: cleanup.removeOldInstancesIntervalMs,
    },
    observer: new CleanerMonitor(deps),
  };
}

/** The engine's part that drops old tombstones, and protects against those that others have dropped. */
export function sweepingDeps(
  { sweeper }: Config,
  deps: SweeperMonitorDeps,
): Pick<EngineDeps, 'sweeping' | 'rejoinObserver'> {
  const observer = new SweeperMonitor(deps);
  if (!sweeper.enabled) {
    return { rejoinObserver: observer };
  }
  const settings = {
    retentionMs: Math.max(sweeper.retentionDays * DAY_MS, MIN_RETENTION_MS),
    firstIntervalMs: sweeper.firstIntervalMs,
    intervalMs: sweeper.intervalMs,
    lockMs: sweeper.lockDurationMs,
    releaseMs: sweeper.releaseDurationMs,
  };
  return { sweeping: { settings, observer }, rejoinObserver: observer };
}
