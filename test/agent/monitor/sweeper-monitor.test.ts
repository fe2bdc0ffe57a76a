import { parseConfig } from '../../../agent/config/config.ts';
import { createLogger } from '../../../agent/log/log.ts';
import { Metrics } from '../../../agent/monitor/metrics.ts';
import type { RejoinStatus } from '../../../agent/monitor/status.ts';
import { sweepingDeps } from '../../../agent/member/settings.ts';
import { statusSource } from '../../support/status.ts';

const HOUR_MS = 3_600_000;

function start(sweeper: string) {
  const text = `lmdbs: {main: {path: /db}}\nsweeper: ${sweeper}\nstorage: {type: memory}`;
  const { config } = parseConfig(text, { fileName: 'x', processEnv: {}, hostname: 'h' });
  const metrics = new Metrics({
    status: statusSource(),
    storageType: 'memory',
    processMetrics: false,
  });
  const rejoins: (RejoinStatus | undefined)[] = [];
  const lines: string[] = [];
  const log = createLogger(
    { level: 'debug', format: 'json', timestamp: 'disable' },
    { stream: { write: (line: string) => lines.push(line) } },
  );
  const { sweeping, rejoinObserver } = sweepingDeps(config, {
    name: 'main',
    metrics: metrics.syncer,
    log,
    onRejoin: (rejoin) => rejoins.push(rejoin),
  });
  return { sweeping, rejoinObserver, metrics, lines, rejoins };
}

test('an agent sweeps only where the configuration says so', () => {
  expect(start('{}').sweeping).toBeUndefined();
  expect(start('{enabled: true}').sweeping?.settings).toEqual({
    retentionMs: 370 * 24 * HOUR_MS,
    firstIntervalMs: 600_000,
    intervalMs: 6 * HOUR_MS,
    lockMs: 50,
    releaseMs: 50,
  });
});

test('a retention below four hours is taken for four hours', () => {
  const { sweeping } = start('{enabled: true, retention_days: 0}');
  expect(sweeping?.settings.retentionMs).toBe(4 * HOUR_MS);
});

test("counts under upstream's names, and every rejoin", async () => {
  const { sweeping, metrics, lines } = start('{enabled: true}');
  const observer = sweeping?.observer;
  observer?.swept({ entries: 8, tombstones: 2, removed: 3, transactions: 1, durationMs: 1500 });
  observer?.rejoinBegan(1_700_000_000_000_000_000n);
  observer?.rejoinPostponed('x is damaged');
  observer?.rejoined({ dropped: 4, stamped: 1, objects: 9 });
  const text = await metrics.text();
  for (const [name, value] of [
    ['sweeper_cleaned_total', 3],
    ['sweeper_stats_available', 1],
    ['sweeper_stats_total_entries', 8],
    ['sweeper_stats_deleted_entries', 2],
    ['sweeper_duration_seconds_sum', 1.5],
    ['sweeper_duration_seconds_count', 1],
    ['rejoins_total', 1],
    ['rejoin_dropped_entries_total', 4],
  ]) {
    expect(text).toContain(`lightningstream_${name}{lmdb="main"} ${value}\n`);
  }
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    component: 'sweeper',
    total_entries: 8,
    deleted_entries: 2,
    deleted_fraction: 0.25,
    cleaned_entries: 3,
    transactions: 1,
  });
  expect(lines[1]).toContain('2023-11-14T22:13:20.000Z');
});

test('tells while a rejoin is due, and why it cannot be finished', () => {
  const { rejoinObserver, rejoins } = start('{}');
  rejoinObserver?.rejoinBegan(1_700_000_000_000_000_000n);
  rejoinObserver?.rejoinPostponed('x is damaged');
  rejoinObserver?.rejoined({ dropped: 4, stamped: 1, objects: 9 });
  expect(rejoins).toEqual([
    { lastSyncMs: 1_700_000_000_000, postponed: undefined },
    { lastSyncMs: 1_700_000_000_000, postponed: 'x is damaged' },
    undefined,
  ]);
});
