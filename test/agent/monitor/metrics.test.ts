import { DatabaseMonitor } from '../../../agent/monitor/database/database-monitor.ts';
import { conditionChecks } from '../../../agent/monitor/conditions.ts';
import { parseConfig } from '../../../agent/config/config.ts';
import { Semaphore } from '../../../agent/pacing/semaphore.ts';
import type { Detection, EncodedObject, MergeResult } from '../../../agent/lmdb/local-database.ts';
import { logStatistics } from '../../../agent/monitor/lmdb-statistics.ts';
import { createLogger } from '../../../agent/log/log.ts';
import { Metrics } from '../../../agent/monitor/metrics.ts';
import { shown, type StatusSource } from '../../../agent/monitor/status.ts';
import { SyncError } from '../../../protocol/errors.ts';
import {
  formatObjectName,
  newRun,
  parseObjectName,
  type ObjectName,
} from '../../../protocol/object-name.ts';
import { databaseStatus, NOW_MS } from '../../support/status.ts';

const RUN = newRun((bytes) => new Uint8Array(bytes).fill(7));

function objectOf(instance: string, seq: bigint, timeMs: number): ObjectName {
  const timeNs = BigInt(timeMs) * 1_000_000n;
  const stream = { database: 'main', instance, run: RUN };
  const name = formatObjectName({ ...stream, timeNs, seq, kind: 'delta' });
  const parsed = parseObjectName(name);
  if (parsed === undefined) {
    throw new Error(name);
  }
  return parsed;
}

const DETECTION: Detection = {
  txnId: 9,
  dataTxnId: 9,
  pendingKeys: 4,
  pendingBytes: 99,
  pendingScan: false,
  newChanges: 0,
  regressions: 0,
  futureEntries: 0,
  maxTsNs: 0n,
  invalidValues: 0,
  hasData: true,
  vectorForgotten: false,
  refusedDbis: [],
  unnamedData: undefined,
};
const ENCODED: EncodedObject = {
  spool: { kind: 'memory', bytes: new Uint8Array(300) },
  token: 1,
  kind: 'delta',
  txnId: 9,
  dataTxnId: 9,
  entries: 2,
  uncompressedBytes: 600,
  vector: undefined,
  addsNothing: false,
  encodeMs: 1,
};
const MERGED: MergeResult = {
  entries: 10,
  changed: 3,
  transactions: 1,
  lockHeldMaxMs: 0.4,
  lockWaitMs: 0.1,
  createdDbis: ['new-dbi'],
  skippedDbis: [],
  refusedDbis: [],
  futureEntries: 0,
  detection: DETECTION,
};

function start() {
  let time = NOW_MS;
  const lines: Record<string, unknown>[] = [];
  const log = createLogger(
    { level: 'debug', format: 'json', timestamp: 'full' },
    {
      stream: { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) },
    },
  );
  const child = log.child({ db: 'main' });
  const covered = new Set<string>();
  const source: StatusSource = {
    instance: 'a',
    version: '1',
    startedMs: NOW_MS,
    databases: () => [monitor.status()],
    requests: () => new Map(),
    failedRequests: () => new Map(),
    notices: () => ({ source: 'queue', trouble: { sinceMs: NOW_MS, error: 'denied' } }),
  };
  const metrics = new Metrics({
    status: source,
    storageType: 's3',
    smaps: async () => new Map([['/db', new Map([['rss', 4096]])]]),
    processMetrics: false,
  });
  const { health } = parseConfig('lmdbs: {main: {path: /db}}', {
    fileName: 'x',
    processEnv: {},
    hostname: 'h',
  }).config;
  const monitor: DatabaseMonitor = new DatabaseMonitor({
    name: 'main',
    path: '/db',
    health,
    metrics: metrics.syncer,
    log: child,
    now: () => time,
  });
  monitor.follow({ has: (object) => covered.has(object.name), vectorSize: 3 });
  const { environment } = databaseStatus();
  if (environment !== undefined) {
    monitor.looked(environment);
  }
  return { monitor, metrics, covered, lines, log: child, advance: (ms: number) => (time += ms) };
}

/** One of everything that can happen. */
function everything() {
  const started = start();
  const { monitor, metrics, covered } = started;
  const b1 = objectOf('b', 1n, NOW_MS - 2000);
  const b2 = objectOf('b', 2n, NOW_MS - 1000);
  monitor.listed({ objects: 7, bytes: 700, newest: new Map([['b', b1]]) });
  monitor.listFailed(new Error('list'));
  monitor.loaded(b1.name, 100);
  monitor.loadFailed(b2, new Error('load'));
  covered.add(b1.name);
  monitor.merged({ object: b1, result: MERGED, sizeBytes: 100, totalMs: 5 });
  const leftOut = { entries: 3, first: 'DBI zones, key "k"' };
  monitor.detected({
    ...DETECTION,
    regressions: 2,
    futureEntries: 1,
    leftOut,
    rescan: 'pages differ',
  });
  monitor.generated('x', ENCODED);
  monitor.storeFailed('x', new Error('store'));
  monitor.stored({
    name: 'x',
    encoded: ENCODED,
    sizeBytes: 300,
    totalMs: 12.3456,
    storeMs: 10,
    attempts: 2,
  });
  monitor.stepFailed('merge', new SyncError('MAP_FULL', 'the map is full'));
  monitor.quarantined(b2, new SyncError('SNAPSHOT_CORRUPT', 'gzip'));
  monitor.refused(b2, new SyncError('MAP_TOO_SMALL', 'no room'));
  monitor.started();
  monitor.sharedNameSeen('a.x');
  monitor.rejoining({ lastSyncMs: 0, postponed: undefined });
  metrics.limits.measured(new Semaphore(1), { lmdb: 'main', limit_name: 'decompress' });
  metrics.onRequest({ kind: 'list', durationMs: 20, error: 'Timeout' }, NOW_MS);
  return { ...started, b1, b2 };
}

test.each([
  ['lightningstream_syncer_snapshots_generated_total{lmdb="main"} 1'],
  [`lightningstream_syncer_snapshots_generated_last_unix_seconds{lmdb="main"} ${NOW_MS / 1000}`],
  ['lightningstream_syncer_snapshots_generated_last_size_bytes{lmdb="main"} 300'],
  ['lightningstream_syncer_snapshots_store_calls_total 2'],
  ['lightningstream_syncer_snapshots_store_bytes_total 300'],
  ['lightningstream_syncer_snapshots_store_failed_attempts_total{lmdb="main"} 1'],
  ['# TYPE lightningstream_syncer_snapshots_store_failed_permanently_total counter'],
  ['lightningstream_syncer_snapshots_load_calls_total 2'],
  ['lightningstream_syncer_snapshots_load_bytes_total 100'],
  ['lightningstream_syncer_snapshots_load_failed_total{lmdb="main",syncer_instance="b"} 1'],
  ['lightningstream_syncer_snapshots_list_calls_total 2'],
  ['lightningstream_syncer_snapshots_list_failed_total{lmdb="main"} 1'],
  [
    `lightningstream_receiver_snapshots_last_received_seconds{lmdb="main",syncer_instance="b"} ${(NOW_MS - 1000) / 1000}`,
  ],
  [
    'lightningstream_receiver_snapshots_last_received_age_seconds_bucket{le="2",lmdb="main",syncer_instance="b"} 2',
  ],
  ['lightningstream_receiver_snapshots_last_received_age_seconds_bucket{le="2592000",'],
  ['lightningstream_receiver_snapshots_in_storage_count{lmdb="main"} 7'],
  ['lightningstream_receiver_snapshots_in_storage_bytes{lmdb="main"} 700'],
  ['lmdb_mapsize_bytes{lmdb="main"} 1048576'],
  ['lmdb_filesize_bytes{lmdb="main"} 65536'],
  ['lmdb_env_readers_current{lmdb="main"} 2'],
  ['lmdb_env_readers_max{lmdb="main"} 126'],
  ['lmdb_env_last_tnx_id{lmdb="main"} 42'],
  ['lmdb_total_usage_bytes{lmdb="main"} 65536'],
  ['lmdb_total_usage_fraction{lmdb="main"} 0.0625'],
  ['lmdb_db_usage_bytes{lmdb="main",db="records_v5"} 65536'],
  ['lmdb_stat_entries{lmdb="main",db="records_v5"} 1000'],
  ['lmdb_stat_depth{lmdb="main",db="records_v5"} 2'],
  ['lmdb_stat_pages{lmdb="main",db="records_v5",pagetype="branch"} 1'],
  ['lmdb_stat_pages{lmdb="main",db="records_v5",pagetype="leaf"} 10'],
  ['lmdb_stat_pages{lmdb="main",db="records_v5",pagetype="overflow"} 5'],
  ['lmdb_smaps_bytes{lmdb="main",database_path="/db",smap="rss"} 4096'],
  ['storage_s3_call_total{method="list"} 1'],
  [`storage_s3_call_timestamp_seconds{method="list"} ${NOW_MS / 1000}`],
  ['storage_s3_call_duration_seconds_bucket{le="0.05",method="list"} 1'],
  ['storage_s3_call_duration_seconds_bucket{le="0.01",method="list"} 0'],
  ['storage_s3_call_error_total{method="list"} 1'],
  ['storage_s3_call_error_by_type_total{method="list",error="Timeout"} 1'],
  ['lightningstream_pending_keys{lmdb="main"} 4'],
  ['lightningstream_pending_bytes{lmdb="main"} 99'],
  ['lightningstream_version_vector_size{lmdb="main"} 3'],
  ['lightningstream_quarantined_objects{lmdb="main"} 1'],
  ['lightningstream_refused_objects{lmdb="main"} 1'],
  ['lightningstream_held_schema_version{lmdb="main"} 0'],
  ['lightningstream_entries_left_out{lmdb="main"} 3'],
  ['lightningstream_received_entries_left_out{lmdb="main"} 0'],
  ['lightningstream_map_full{lmdb="main"} 1'],
  ['lightningstream_rejoin_pending{lmdb="main"} 1'],
  ['lightningstream_shared_name_streams{lmdb="main"} 1'],
  ['lightningstream_notices_working{source="queue"} 0'],
  ['promhttp_metric_handler_requests_total{code="200"} 0'],
  ['promhttp_metric_handler_requests_in_flight 1'],
  ['lightningstream_climit_limit{lmdb="main",limit_name="decompress"} 1'],
  ['lightningstream_started{lmdb="main"} 1'],
  ['lightningstream_instance_lag_seconds{lmdb="main",syncer_instance="b"} 0'],
  ['lightningstream_last_merge_lock_seconds{lmdb="main"} 0.0004'],
  ['lightningstream_merge_lock_held_seconds_bucket{le="0.0005",lmdb="main"} 1'],
  ['lightningstream_merged_changes_total{lmdb="main"} 3'],
  ['lightningstream_stored_objects_total{lmdb="main",kind="delta"} 1'],
  ['lightningstream_regressions_total{lmdb="main"} 2'],
  ['lightningstream_lmdb_rescans_total{lmdb="main"} 1'],
  ['lightningstream_future_entries_total{lmdb="main"} 1'],
])('/metrics has %s', async (line) => {
  expect(await everything().metrics.text()).toContain(line);
});

test('process metrics are there in the agent', async () => {
  const { monitor } = start();
  const status = { ...monitor.status() };
  const metrics = new Metrics({
    status: {
      instance: 'a',
      version: '1',
      startedMs: 0,
      databases: () => [status],
      requests: () => new Map(),
      failedRequests: () => new Map(),
      notices: () => ({ source: 'poll', trouble: undefined }),
    },
    storageType: 'fs',
  });
  const text = await metrics.text();
  expect(text).toContain('process_resident_memory_bytes');
  expect(text).toContain('# TYPE storage_fs_call_total counter');
  metrics.registry.clear();
});

describe('the monitor', () => {
  test('measures lag from when an object was first seen until it is covered', () => {
    const { monitor, covered, advance } = start();
    const first = objectOf('b', 1n, NOW_MS - 60_000);
    const second = objectOf('b', 2n, NOW_MS);
    const lag = () => monitor.status().instances.map(({ lagMs }) => lagMs);
    monitor.listed({ objects: 1, bytes: 1, newest: new Map([['b', first]]) });
    expect(lag()).toEqual([0]);
    advance(3000);
    expect(lag()).toEqual([3000]);
    // A newer object while the older one still waits: the wait goes on.
    monitor.listed({ objects: 2, bytes: 2, newest: new Map([['b', second]]) });
    advance(1000);
    expect(lag()).toEqual([4000]);
    covered.add(first.name).add(second.name);
    expect(lag()).toEqual([0]);
  });

  test('an older object that is merged late does not hide a newer one', () => {
    const { monitor } = start();
    const newest = objectOf('b', 2n, NOW_MS);
    monitor.listed({ objects: 2, bytes: 2, newest: new Map([['b', newest]]) });
    const older = objectOf('b', 1n, NOW_MS - 5000);
    monitor.merged({ object: older, result: MERGED, sizeBytes: 1, totalMs: 1 });
    expect(monitor.status().instances).toMatchObject([
      { newestMs: NOW_MS, mergedMs: NOW_MS - 5000 },
    ]);
  });

  test('keeps the last uploads and merges, the newest first', () => {
    const { monitor, b1 } = everything();
    expect(monitor.status().recent).toMatchObject([
      { direction: 'upload', object: 'x', kind: 'delta', entries: 2, changed: 2, sizeBytes: 300 },
      { direction: 'merge', object: b1.name, instance: 'b', entries: 10, changed: 3 },
    ]);
    for (let at = 0; at < 50; at += 1) {
      monitor.merged({ object: b1, result: MERGED, sizeBytes: 100, totalMs: 5 });
    }
    expect(monitor.status().recent).toHaveLength(20);
  });

  test.each([
    [
      'cannot be fetched',
      (monitor: DatabaseMonitor, object: ObjectName) =>
        monitor.loadFailed(object, new Error('denied')),
    ],
    [
      'is damaged',
      (monitor: DatabaseMonitor, object: ObjectName) =>
        monitor.quarantined(object, new SyncError('SNAPSHOT_CORRUPT', 'gzip')),
    ],
  ])('an instance is behind from the notice on whose object %s', (_what, happens) => {
    const { monitor, advance } = start();
    happens(monitor, objectOf('c', 1n, NOW_MS));
    advance(7000);
    expect(monitor.status().instances).toMatchObject([{ instance: 'c', lagMs: 7000 }]);
  });

  test('DBIs are shown by the text that their name is, where it is one', () => {
    const { environment } = databaseStatus();
    const named = (name: string) =>
      environment &&
      shown({ ...environment, dbis: [{ ...environment.dbis[0]!, name }] }).dbis[0]?.name;
    expect(named(Buffer.from('zürich').toString('latin1'))).toBe('zürich');
    expect(named('\u00ff')).toBe('\u00ff');
  });

  test('map full ends when the same work succeeds again', () => {
    const { monitor } = everything();
    expect(monitor.status()).toMatchObject({ mapFull: true, error: 'the map is full' });
    monitor.stepWorked('local changes');
    expect(monitor.status().mapFull).toBe(true);
    monitor.stepWorked('merge');
    expect(monitor.status()).toMatchObject({ mapFull: false, error: undefined });
  });

  test('an object that was released is no longer reported', () => {
    const { monitor, b2 } = everything();
    expect(monitor.status().quarantined).toEqual([{ name: b2.name, error: 'gzip' }]);
    monitor.released(b2.name);
    expect(monitor.status().quarantined).toEqual([]);
    expect(conditionChecks(monitor.status(), NOW_MS).map(({ name }) => name)).not.toContain(
      'main_quarantined_objects',
    );
  });

  test("logs what an operator looks for, with upstream's fields", () => {
    const { lines } = everything();
    const logged = (text: string) => lines.find(({ msg }) => msg === text);
    expect(logged('Stored snapshot')).toMatchObject({
      level: 'info',
      db: 'main',
      snapshot_name: 'x',
      snapshot_kind: 'delta',
      snapshot_size: 300,
      uncompressed_size: 600,
      compression_ratio: '1:2.00',
      txnID: 9,
      time_total: '12.346ms',
    });
    expect(logged('Loaded remote snapshot')).toMatchObject({
      snapshot_instance: 'b',
      txnID: 9,
      compressed_size_bytes: 100,
      time_write_lock: '400µs',
    });
    expect(logged('DBI created from a snapshot')).toMatchObject({
      level: 'warning',
      dbi: 'new-dbi',
    });
    expect(logged('Store failed, trying again')).toMatchObject({
      level: 'warning',
      error: 'store',
    });
  });

  test('statistics are logged per file and per DBI', () => {
    const { log, lines } = start();
    const { environment } = databaseStatus();
    if (environment !== undefined) {
      logStatistics(log, environment);
    }
    expect(lines.find(({ msg }) => msg === 'LMDB statistics')).toMatchObject({
      map_size: 1_048_576,
      num_readers: 2,
      max_readers: 126,
    });
    const statistics = { db: 'main', DB: 'records_v5', entries: 1000, psize: 4096 };
    expect(lines.find(({ msg }) => msg === 'DBI statistics')).toMatchObject(statistics);
  });

  test('what goes on and on is logged once, and counted every time', async () => {
    const { monitor, metrics, lines, advance } = start();
    for (let round = 0; round < 50; round++) {
      monitor.detected({ ...DETECTION, futureEntries: 1 });
      advance(1000);
    }
    expect(lines.filter(({ level }) => level === 'warning')).toHaveLength(1);
    expect(await metrics.text()).toContain('lightningstream_future_entries_total{lmdb="main"} 50');
    monitor.sharedNameSeen('a.x');
    monitor.sharedNameSeen('a.x');
    expect(lines.filter(({ level }) => level === 'warning')).toHaveLength(2);
    expect(monitor.status().sharedName).toEqual(['a.x']);
  });
});
