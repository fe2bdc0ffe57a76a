import { parseConfig } from '../../../agent/config/config.ts';
import { DatabaseMonitor } from '../../../agent/monitor/database/database-monitor.ts';
import { DATABASE_CHECKS } from '../../../agent/monitor/conditions.ts';
import { Metrics } from '../../../agent/monitor/metrics.ts';
import type { Detection, MergeResult } from '../../../agent/lmdb/local-database.ts';
import { Semaphore } from '../../../agent/pacing/semaphore.ts';
import { recordingLog } from '../../support/hosted-engine.ts';
import { databaseStatus, NOW_MS, statusSource } from '../../support/status.ts';
import { formatObjectName, newRun, parseObjectName } from '../../../protocol/object-name.ts';

const NOTHING: MergeResult = {
  entries: 0,
  changed: 0,
  transactions: 0,
  lockHeldMaxMs: 0,
  lockWaitMs: 0,
  createdDbis: [],
  skippedDbis: [],
  refusedDbis: [],
  futureEntries: 0,
  detection: {} as Detection,
};

/** What cannot be known before it happens. */
const KNOWN_LATER = new Set(['storage_s3_call_error_by_type_total']);

function start() {
  const status = statusSource(databaseStatus());
  const metrics = new Metrics({
    status,
    storageType: 's3',
    hooks: ['flush'],
    processMetrics: false,
  });
  const { health } = parseConfig('lmdbs: {main: {path: /db}}', {
    fileName: 'x',
    processEnv: {},
    hostname: 'h',
  }).config;
  const monitor = new DatabaseMonitor({
    name: 'main',
    path: '/db',
    health,
    metrics: metrics.syncer,
    log: recordingLog(() => undefined),
    now: () => NOW_MS,
  });
  metrics.limits.measured(new Semaphore(1), { lmdb: 'main', limit_name: 'download' });
  return { metrics, monitor };
}

function objectNameOf(instance: string, timeMs = NOW_MS) {
  const name = formatObjectName({
    database: 'main',
    instance,
    timeNs: BigInt(timeMs) * 1_000_000n,
    run: newRun((size) => new Uint8Array(size).fill(7)),
    seq: 1n,
    kind: 'delta',
  });
  const parsed = parseObjectName(name);
  if (parsed === undefined) {
    throw new Error(name);
  }
  return parsed;
}

async function families(metrics: Metrics) {
  const all = await metrics.registry.getMetricsAsJSON();
  return all.map(({ name, type, values }) => ({ name, type: String(type), values }));
}

test('every counter and histogram of a database exists from the start, with 0', async () => {
  const { metrics, monitor } = start();
  monitor.listed({ objects: 0, bytes: 0, newest: new Map([['b', objectNameOf('b')]]) });
  const events = (await families(metrics)).filter(({ type }) => /counter|histogram/.test(type));
  expect(events.length).toBeGreaterThan(40);
  const empty = events.filter(({ values }) => values.length === 0).map(({ name }) => name);
  expect(empty.filter((name) => !KNOWN_LATER.has(name))).toEqual([]);
});

test('what has several kinds is 0 for each of them, and an instance has its own once it is seen', async () => {
  const { metrics, monitor } = start();
  const text = await metrics.text();
  expect(text).toContain('lightningstream_stored_objects_total{lmdb="main",kind="delta"} 0');
  expect(text).toContain(
    'lightningstream_cleaner_delete_total{lmdb="main",reason="stale instance"} 0',
  );
  expect(text).toContain('lightningstream_step_failures_total{lmdb="main",step="bucket id"} 0');
  expect(text).toContain('lightningstream_after_merge_runs_total{hook="flush",result="failed"} 0');
  expect(text).not.toContain('lightningstream_merged_objects_total{');
  monitor.listed({ objects: 1, bytes: 1, newest: new Map([['b', objectNameOf('b')]]) });
  expect(await metrics.text()).toContain(
    'lightningstream_merged_objects_total{lmdb="main",syncer_instance="b"} 0',
  );
});

test('the build, and one value for each check of /healthz', async () => {
  const { metrics } = start();
  metrics.watchHealth(() => [
    { name: 'main_map_full', level: 'error', message: 'x' },
    { name: 'notices_failed_duration', level: 'warning', message: 'x' },
  ]);
  const text = await metrics.text();
  expect(text).toContain(`lightningstream_build_info{version="1.2.3",node="${process.version}"} 1`);
  for (const check of DATABASE_CHECKS) {
    const value = check === 'map_full' ? 2 : 0;
    expect(text).toContain(`lightningstream_health_check{lmdb="main",check="${check}"} ${value}`);
  }
  expect(text).toContain('lightningstream_health_check{lmdb="",check="notices_failed_duration"} 1');
  expect(text).toContain('lightningstream_oldest_unsent_change_seconds{lmdb="main"} 3');
  expect(text).toContain(
    `lightningstream_last_complete_pass_unix_seconds{lmdb="main"} ${(NOW_MS - 1000) / 1000}`,
  );
});

test('tells how late changes come, but not those that were there before the start', async () => {
  const { monitor, metrics } = start();
  const merge = (ageMs: number) =>
    monitor.merged({
      object: objectNameOf('b', NOW_MS - ageMs),
      result: { ...NOTHING, entries: 10, changed: 3 },
      sizeBytes: 100,
      totalMs: 5,
    });
  merge(3_600_000);
  const sum = 'lightningstream_commit_to_visible_seconds_sum{lmdb="main"}';
  expect(await metrics.text()).toContain(`${sum} 0\n`);
  monitor.started();
  merge(2000);
  expect(await metrics.text()).toContain(`${sum} 2\n`);
});
