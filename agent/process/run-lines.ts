import { statSync } from 'node:fs';
import { join } from 'node:path';
import { SyncError } from '../../protocol/errors.ts';
import { formatGoDuration } from '../../protocol/time.ts';
import type { Config, DatabaseConfig, StorageConfig } from '../config/config.ts';
import type { MergedEvent, StoredEvent, SyncObserver } from '../engine/observer.ts';
import { listDbis, DataFile } from '../lmdb/pages/data-file.ts';
import type { LogFields, Logger } from '../log/log.ts';
import type { DatabaseStatus } from '../monitor/status.ts';
import type { NoticeSource } from '../notices/source.ts';

/** Begins the names of DBIs that the agent keeps for itself. */
const PRIVATE_PREFIX = '_sync';

export type StartFacts = {
  readonly version: string;
  readonly databases: readonly (readonly [string, DatabaseConfig])[];
  readonly source: NoticeSource['kind'];
  readonly receiveOnly: boolean;
};

/** Says what starts: one line about the agent and its storage, and one about each database. */
export function logStart(log: Logger, config: Config, facts: StartFacts): void {
  const { version, databases, source, receiveOnly } = facts;
  log.info(
    {
      version,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      pid: process.pid,
      instance: config.instance,
      databases: databases.length,
      ...storageFields(config.storage),
      source,
      ...(config.http.address === '' ? {} : { http: config.http.address }),
      ...(receiveOnly ? { receive_only: true } : {}),
    },
    'starting',
  );
  for (const [name, database] of databases) {
    log.child({ db: name }).info(databaseFields(database), 'syncing this LMDB');
  }
}

/** Where objects go: never a key, and of an address neither its user nor its query, which may be one. */
function storageFields({ type, options }: StorageConfig): LogFields {
  if (options instanceof SyncError) {
    return { storage: type };
  }
  switch (options.type) {
    case 'fs':
      return { storage: type, folder: options.rootPath };
    case 's3':
      return { storage: type, bucket: options.bucket, ...remoteFields(options) };
    case 'azure':
      return { storage: type, container: options.container, ...remoteFields(options) };
    case 'memory':
      return { storage: type };
    default:
      return options satisfies never;
  }
}

function remoteFields(options: { endpointUrl: string; globalPrefix: string }): LogFields {
  const { endpointUrl, globalPrefix } = options;
  const url = URL.canParse(endpointUrl) ? new URL(endpointUrl) : undefined;
  return {
    ...(url === undefined ? {} : { endpoint: `${url.origin}${url.pathname.replace(/\/$/, '')}` }),
    ...(globalPrefix === '' ? {} : { prefix: globalPrefix }),
  };
}

/** Path and schema, and what the file holds now, as far as it can be read without LMDB and its locks. */
function databaseFields({ path, options, schemaTracksChanges }: DatabaseConfig): LogFields {
  const dataPath = options.noSubdir ? path : join(path, 'data.mdb');
  const fields = { path, schema: schemaTracksChanges ? 'native' : 'shadow' };
  let size: number;
  try {
    size = statSync(dataPath).size;
  } catch {
    return { ...fields, size: 'no file yet' };
  }
  try {
    using file = DataFile.open(dataPath);
    const dbis = [...listDbis(file, file.readMeta())];
    const entries = dbis
      .filter(([name]) => !name.startsWith(PRIVATE_PREFIX))
      .reduce((sum, [, record]) => sum + record.entries, 0);
    return { ...fields, size, entries };
  } catch {
    // Being written, or damaged: whoever opens it in a moment says so.
    return { ...fields, size };
  }
}

/** Counts what one run has sent and merged. */
export class RunTotals implements Pick<SyncObserver, 'stored' | 'merged'> {
  sentObjects = 0;
  sentEntries = 0;
  mergedObjects = 0;

  stored({ encoded }: StoredEvent): void {
    this.sentObjects += 1;
    this.sentEntries += encoded.entries;
  }

  merged(_event: MergedEvent): void {
    this.mergedObjects += 1;
  }
}

/** The last line of a clean end: what was done, and what the next start has to send. */
export function logStop(
  log: Logger,
  { totals, unsent, startedMs }: { totals: RunTotals; unsent: Unsent; startedMs: number },
): void {
  const uptime = formatGoDuration(Math.round((Date.now() - startedMs) / 1000) * 1000);
  log.info(
    {
      uptime,
      sent_objects: totals.sentObjects,
      sent_entries: totals.sentEntries,
      merged_objects: totals.mergedObjects,
      unsent,
    },
    'stopped',
  );
}

/** How many local changes wait for the next start; "many" where they are not remembered one by one. */
export type Unsent = number | 'many';

/** What is pending in all of these databases. */
export function unsentOf(databases: readonly DatabaseStatus[]): Unsent {
  return databases.some(({ pendingScan }) => pendingScan)
    ? 'many'
    : databases.reduce((sum, { pendingKeys }) => sum + pendingKeys, 0);
}

/** How the agent is, for whoever asks by a signal: one line about the process, and one about each database. */
export function logStatus(
  log: Logger,
  databases: readonly DatabaseStatus[],
  facts: { readonly startedMs: number; readonly trouble: readonly string[] },
): void {
  const { rss, heapUsed } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  log.info(
    {
      uptime: formatGoDuration(Math.round((Date.now() - facts.startedMs) / 1000) * 1000),
      rss_bytes: rss,
      heap_bytes: heapUsed,
      cpu_seconds: Math.round((user + system) / 1e6),
      trouble: facts.trouble.length === 0 ? undefined : facts.trouble.join(', '),
    },
    'status',
  );
  for (const { name, ...database } of databases) {
    const lagMs = Math.max(0, ...database.instances.map((instance) => instance.lagMs));
    log.child({ db: name }).info(
      {
        started: database.started,
        instances: database.instances.length,
        lag: formatGoDuration(Math.round(lagMs)),
        unsent: database.pendingScan ? 'many' : database.pendingKeys,
        last_upload: isoTime(database.lastUpload?.atMs),
        last_merge: isoTime(database.lastMerge?.atMs),
        error: database.error,
      },
      'status',
    );
  }
}

function isoTime(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}
