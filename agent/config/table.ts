import { AFTER_MERGE } from './after-merge-table.ts';
import { DATABASE } from './database-table.ts';
import { deferred, mapOf, section } from './fields.ts';
import {
  choice,
  count,
  duration,
  flag,
  fraction,
  listenAddress,
  size,
  text,
} from './value-types.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const MIB = 1024 * 1024;
/** Upstream refuses shorter polls and retries. */
const SHORTEST_POLL_MS = 100;

const sweeper = section('sweeper', 'Removes old tombstones from the LMDBs.', {
  enabled: flag('enabled', {
    default: false,
    help: 'Run the sweeper: best the same on all agents. A host that was away for longer than half the retention of anybody who drops tombstones rejoins first, with or without a sweeper.',
  }),
  retentionDays: fraction('retention_days', {
    default: 370,
    atLeast: 0,
    help: 'Tombstones older than this many days are removed; less than four hours counts as four hours.',
  }),
  intervalMs: duration('interval', { default: 6 * HOUR, help: 'Time between two sweeps.' }),
  firstIntervalMs: duration('first_interval', {
    default: 10 * MINUTE,
    help: 'Time from the start to the first sweep.',
  }),
  lockDurationMs: duration('lock_duration', {
    default: 50,
    help: 'How long one write transaction of a sweep may take.',
  }),
  releaseDurationMs: duration('release_duration', {
    default: 50,
    help: 'Pause between two write transactions of a sweep.',
  }),
  retentionLoadCutoffDurationMs: duration('retention_load_cutoff_duration', {
    default: 0,
    help: 'Accepted for upstream files and without effect: tombstones are merged whatever their age, only the sweeper drops them.',
  }),
});

const cleanup = section('cleanup', 'Removes old objects from the storage.', {
  enabled: flag('enabled', { default: false, help: 'Run the cleaner.' }),
  intervalMs: duration('interval', { default: 5 * MINUTE, help: 'Time between two runs.' }),
  mustKeepIntervalMs: duration('must_keep_interval', {
    default: 10 * MINUTE,
    help: 'An object is kept at least this long.',
  }),
  removeOldInstancesIntervalMs: duration('remove_old_instances_interval', {
    default: 7 * DAY,
    help: 'The last objects of an instance that was silent for this long are removed.',
  }),
});

function tracker(key: string, activity: string) {
  return section(key, `When ${activity} counts as unhealthy.`, {
    intervalMs: duration('interval', {
      default: 5 * SECOND,
      clampMs: SECOND,
      help: 'Accepted for upstream files. Checks are evaluated when `/healthz` is asked.',
    }),
    warnDurationMs: duration('warn_duration', {
      default: MINUTE,
      clampMs: 0,
      help: 'A warning after failing for this long.',
    }),
    errorDurationMs: duration('error_duration', {
      default: 5 * MINUTE,
      clampMs: 0,
      help: 'Unhealthy (status 503) after failing for this long.',
    }),
  });
}

const health = section('health', 'What `/healthz` reports.', {
  storageList: tracker('storage_list', 'listing the storage'),
  storageLoad: tracker('storage_load', 'fetching objects'),
  storageStore: tracker('storage_store', 'storing objects'),
  start: section('start', 'When an unfinished start counts as unhealthy.', {
    intervalMs: duration('interval', {
      default: SECOND,
      clampMs: SECOND,
      help: 'Accepted for upstream files. Checks are evaluated when `/healthz` is asked.',
    }),
    warnDurationMs: duration('warn_duration', {
      default: MINUTE,
      clampMs: 0,
      help: 'A warning when the start takes longer than this.',
    }),
    errorDurationMs: duration('error_duration', {
      default: 5 * MINUTE,
      clampMs: 0,
      help: 'Unhealthy when the start takes longer. As a readiness gate: 0.',
    }),
    reportHealthz: flag('report_healthz', {
      default: false,
      help: 'Report an unfinished start as a check.',
    }),
    reportMetadata: flag('report_metadata', {
      default: true,
      help: 'Report `startup_<db>` in the metadata.',
    }),
  }),
});

const notices = section('notices', 'How this agent hears of new objects.', {
  type: choice('type', {
    default: 'auto',
    words: ['auto', 'poll', 'watch', 'sqs'],
    ours: true,
    help: '`poll`: list the storage. `watch`: watch the folder of storage type `fs`. `sqs`: receive from an SQS queue. `auto`: `sqs` where a queue is named below, `watch` for a folder, else `poll`.',
  }),
  queueUrl: text('queue_url', {
    ours: true,
    help: 'The queue of this instance, for all its databases. In its place: `queue_prefix`.',
  }),
  queuePrefix: text('queue_prefix', {
    ours: true,
    help: 'The queue of this instance is the one with this beginning and the name of the instance.',
  }),
  createQueue: flag('create_queue', {
    default: false,
    ours: true,
    help: 'With `queue_prefix`: create the queue if it is missing (keeps notices for 4 hours; tagged `lightningstream`), and subscribe it to the topic of the stack, whose name is the prefix without the `-` at its end.',
  }),
  directQueueUrl: text('direct_queue_url', {
    ours: true,
    help: 'The ingest queue. Given, this agent announces its objects there itself, at the price of one SQS request each, instead of leaving that to the event of the bucket alone.',
  }),
  region: text('region', {
    ours: true,
    help: 'Region of the queue. Empty: the one in the URL of the queue, else that of `storage.options`, else that of the AWS SDK (environment, profile).',
  }),
  endpointUrl: text('endpoint_url', {
    ours: true,
    help: 'The SQS service, with http:// or https://. Empty: AWS. Keys are those that the AWS SDK finds (environment, profile, role); keys and `tls` of `storage.options` hold for SQS only where both services are AWS or have the same URL.',
  }),
  waitTimeMs: duration('wait_time', {
    default: 20 * SECOND,
    atLeastMs: SECOND,
    ours: true,
    help: 'How long one request waits for a notice; 1s to 20s.',
  }),
});

const log = section('log', 'What is logged, to standard error.', {
  level: choice('level', {
    default: 'info',
    words: ['trace', 'debug', 'info', 'warning', 'warn', 'error', 'fatal', 'panic'],
    help: 'The lowest level that is logged.',
  }),
  format: choice('format', {
    default: 'human',
    words: ['human', 'logfmt', 'json'],
    help: 'How a line looks.',
  }),
  timestamp: choice('timestamp', {
    default: 'short',
    words: ['short', 'disable', 'full', ''],
    help: 'On terminals `short` is seconds since the start; elsewhere it is the full time.',
  }),
});

/**
 * Every key of the configuration file with its type, default and help text; docs/configuration.md is made
 * from it. Property names carry the unit of the parsed value: milliseconds, bytes.
 *
 * Source of keys and defaults: PowerDNS/lightningstream `config/config.go`; rows marked `ours` are added here.
 */
export const CONFIG_FIELDS = {
  instance: text('instance', {
    help: 'Unique name of this instance. Empty: the host name. Characters outside `a-zA-Z0-9-` become `-`.',
    default: '',
  }),
  onlyOnce: flag('only_once', {
    default: false,
    help: 'Sync once and exit; same as `--only-once`.',
  }),
  lmdbPollIntervalMs: duration('lmdb_poll_interval', {
    default: SECOND,
    atLeastMs: SHORTEST_POLL_MS,
    help: 'How often the LMDB is checked for changes, where watching the file does not tell.',
  }),
  lmdbLogStatsIntervalMs: duration('lmdb_log_stats_interval', {
    default: 30 * MINUTE,
    help: 'How often LMDB statistics are logged. 0: never.',
  }),
  lmdbScrapeSmaps: flag('lmdb_scrape_smaps', {
    default: true,
    help: 'Report statistics of the memory maps (Linux).',
  }),
  storagePollIntervalMs: duration('storage_poll_interval', {
    default: SECOND,
    atLeastMs: SHORTEST_POLL_MS,
    help: 'How often the storage is listed, where nothing else announces objects.',
  }),
  storageRetryIntervalMs: duration('storage_retry_interval', {
    default: 5 * SECOND,
    atLeastMs: SHORTEST_POLL_MS,
    help: 'Pause after a storage request that failed.',
  }),
  storageRetryCount: count('storage_retry_count', {
    default: 100,
    atLeast: 1,
    help: 'Accepted for upstream files. Uploads here are always tried again, with changes coalesced meanwhile.',
  }),
  storageRetryForever: flag('storage_retry_forever', {
    default: false,
    help: 'Accepted for upstream files; see `storage_retry_count`.',
  }),
  storageForceSnapshotIntervalMs: duration('storage_force_snapshot_interval', {
    default: 4 * HOUR,
    atLeastMs: MINUTE,
    zeroIsOff: true,
    help: 'A full snapshot is stored at least this often, unless a published base holds all that this instance has stored. With `upstream_readers` always. 0: off.',
  }),
  storageSafetyListIntervalMs: duration('storage_safety_list_interval', {
    default: 5 * MINUTE,
    atLeastMs: SECOND,
    ours: true,
    help: 'How often the storage is listed although objects are announced (every notice source but polling).',
  }),
  uploadMinIntervalMs: duration('upload_min_interval', {
    default: SECOND,
    ours: true,
    help: 'Average time between two uploads under constant change, where requests cost money. 0: no bound.',
  }),
  uploadBurst: count('upload_burst', {
    default: 20,
    atLeast: 1,
    ours: true,
    help: 'How many uploads may go out at once before `upload_min_interval` applies.',
  }),
  maxLockHoldMs: duration('max_lock_hold', {
    default: 250,
    atLeastMs: 1,
    ours: true,
    help: 'A merge that would hold the write lock longer is split into several transactions.',
  }),
  maxClockSkewMs: duration('max_clock_skew', {
    default: MINUTE,
    ours: true,
    help: 'Entries with a time further in the future than this are reported.',
  }),
  fullSnapshotMaxDeltas: count('full_snapshot_max_deltas', {
    default: 1000,
    atLeast: 1,
    ours: true,
    help: 'A full snapshot is stored after this many deltas.',
  }),
  fullSnapshotMaxDeltaFraction: fraction('full_snapshot_max_delta_fraction', {
    default: 0.5,
    atLeast: 0,
    ours: true,
    help: 'A full snapshot is stored when the deltas since the last one exceed this part of its size.',
  }),
  upstreamReaders: flag('upstream_readers', {
    default: false,
    ours: true,
    help: 'Instances of upstream (PowerDNS LightningStream) read this storage: store full snapshots for them.',
  }),
  upstreamSnapshotMinIntervalMs: duration('upstream_snapshot_min_interval', {
    default: 10 * SECOND,
    ours: true,
    help: 'Shortest time between two such snapshots.',
  }),
  memoryDownloadedSnapshots: count('memory_downloaded_snapshots', {
    default: 2,
    atLeast: 1,
    help: 'How many objects are downloaded at the same time, per database.',
  }),
  memoryDecompressedSnapshots: count('memory_decompressed_snapshots', {
    default: 3,
    atLeast: 1,
    help: 'Accepted for upstream files. Objects are decompressed in a stream here.',
  }),
  memorySpoolBytes: size('memory_spool_bytes', {
    default: 16 * MIB,
    ours: true,
    help: 'Larger objects wait in a temporary file instead of in memory.',
  }),
  spoolFolder: text('spool_folder', {
    default: '',
    ours: true,
    help: 'Folder of these temporary files. Empty: that of the operating system.',
  }),
  shutdownTimeoutMs: duration('shutdown_timeout', {
    default: 10 * SECOND,
    ours: true,
    help: 'How long a stop waits for the upload of the last changes.',
  }),
  lmdbs: mapOf('lmdbs', { keyName: 'name', help: 'The databases to sync, by name.' }, DATABASE),
  sweeper,
  storage: section('storage', 'Where objects are kept.', {
    type: choice('type', {
      default: '',
      words: ['', 'fs', 's3', 'azure', 'memory'],
      help: 'The kind of storage.',
    }),
    options: deferred('options', 'Depends on the type; see below.'),
    cleanup,
    rootPath: text('root_path', {
      default: '',
      help: 'Deprecated; use `options.root_path`.',
    }),
  }),
  notices,
  afterMerge: AFTER_MERGE,
  http: section('http', 'The status server.', {
    address: listenAddress('address', {
      default: '',
      help: '`host:port`, or `:port` for all addresses. Empty: no server. Whoever reaches it can read names of databases, DBIs, instances and objects, but no entries: prefer `127.0.0.1:port`.',
    }),
    debug: flag('debug', {
      default: false,
      ours: true,
      help: 'Serve profiles of the agent under `/debug/pprof/`, as upstream always does.',
    }),
  }),
  log,
  health,
} as const;
