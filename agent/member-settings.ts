import { hostname, tmpdir } from 'node:os';
import { TOUCHED_KEYS_MAX } from './after-merge/hook.ts';
import type { AfterMergeHooks } from './after-merge/hooks.ts';
import type { Config, DatabaseConfig } from './config/config.ts';
import type { EngineSettings } from './engine/types.ts';
import type { DatabaseOptions } from './lmdb/local-database.ts';

/** A hundred thousand changed keys and more; beyond that a scan of the headers is no slower. */
const PENDING_BYTES_MAX = 16 * 1024 * 1024;
/** Vector and marker lag behind the uploads at most this long (the design allows a minute). */
const PERSIST_INTERVAL_MS = 30_000;
/** Objects of one database that are fetched ahead of merging. */
const READ_AHEAD = 4;

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
