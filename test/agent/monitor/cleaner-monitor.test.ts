import { cleaningDeps } from '../../../agent/member/settings.ts';
import { parseConfig } from '../../../agent/config/config.ts';
import { createLogger } from '../../../agent/log/log.ts';
import { Metrics } from '../../../agent/monitor/metrics.ts';
import { parseObjectName } from '../../../protocol/object-name.ts';
import { statusSource } from '../../support/status.ts';

function start(cleanup: string, receiveOnly = false) {
  const text = `lmdbs: {main: {path: /db}}\nstorage: {type: memory, cleanup: ${cleanup}}`;
  const { config } = parseConfig(text, { fileName: 'x', processEnv: {}, hostname: 'h' });
  const metrics = new Metrics({
    status: statusSource(),
    storageType: 'memory',
    processMetrics: false,
  });
  const lines: string[] = [];
  const log = createLogger(
    { level: 'debug', format: 'json', timestamp: 'disable' },
    { stream: { write: (line: string) => lines.push(line) } },
  );
  const cleaning = cleaningDeps(config, {
    name: 'main',
    metrics: metrics.syncer,
    log,
    receiveOnly,
  });
  return { cleaning, metrics, lines };
}

test('an agent cleans only where the configuration says so, and never when it only receives', () => {
  expect(start('{}').cleaning).toBeUndefined();
  expect(start('{enabled: true}', true).cleaning).toBeUndefined();
  expect(start('{enabled: true, interval: 1m}').cleaning?.settings).toEqual({
    intervalMs: 60_000,
    mustKeepMs: 600_000,
    removeOldInstancesMs: 604_800_000,
  });
});

test("counts under upstream's names and logs each run", async () => {
  const { cleaning, metrics, lines } = start('{enabled: true}');
  const object = parseObjectName('main__b__20260101-000000-000000001__GX.pb.gz');
  if (object === undefined || cleaning === undefined) {
    throw new Error('unexpected');
  }
  const superfluous = {
    object: { ...object, sizeBytes: 1, etag: '' },
    reason: 'stale instance',
  } as const;
  const { observer } = cleaning;
  observer.listed();
  observer.listFailed(new Error('x'));
  observer.deleted(superfluous);
  observer.deleteFailed(superfluous, new Error('x'));
  observer.finished({ deleted: 1, failed: 1, listed: 3 });
  const text = await metrics.text();
  expect(text).toContain('lightningstream_cleaner_list_calls_total 2\n');
  expect(text).toContain('lightningstream_cleaner_list_failed_total 1\n');
  expect(text).toContain(
    'lightningstream_cleaner_delete_total{lmdb="main",reason="stale instance"} 2\n',
  );
  expect(text).toContain('lightningstream_cleaner_delete_failed_total 1\n');
  expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({
    component: 'cleaner',
    cleaned: 1,
    failed: 1,
    total: 3,
  });
});
