import { parseConfig, type HealthConfig } from '../../../agent/config/config.ts';
import { conditionChecks, Conditions } from '../../../agent/monitor/conditions.ts';
import { ActivityTracker, DatabaseHealth } from '../../../agent/monitor/health.ts';
import { Healthz } from '../../../agent/status/healthz.ts';
import { NoticeHealth } from '../../../agent/monitor/notice-health.ts';
import type { DatabaseStatus } from '../../../agent/monitor/status.ts';
import { databaseStatus, NOW_MS, statusSource } from '../../support/status.ts';

function healthConfig(yaml = '{}'): HealthConfig {
  const text = `lmdbs: {main: {path: /db}}\nhealth: ${yaml}\n`;
  return parseConfig(text, { fileName: 'ls.yaml', processEnv: {}, hostname: 'h' }).config.health;
}

function clock() {
  let time = NOW_MS;
  return { now: () => time, advance: (ms: number) => (time += ms) };
}

describe('a tracker', () => {
  const limits = { intervalMs: 5000, warnDurationMs: 60_000, errorDurationMs: 300_000 };
  const start = () => {
    const time = clock();
    const what = { name: 'main_storage_list_failed_duration', activity: 'list storage backend' };
    return { ...time, tracker: new ActivityTracker(what, limits, time.now) };
  };

  test.each([
    [0, undefined],
    [59_999, undefined],
    [60_000, 'warning'],
    [299_999, 'warning'],
    [300_000, 'error'],
  ] as const)('after failing for %i ms reports %s', (ms, level) => {
    const { tracker, advance } = start();
    tracker.failed(new Error('no such\nbucket'));
    advance(ms);
    expect(tracker.check()?.level).toBe(level);
  });

  test('says for how long, and the last error', () => {
    const { tracker, advance } = start();
    tracker.failed(new Error('first'));
    advance(90_400);
    tracker.failed(new Error('second'));
    expect(tracker.check()).toEqual({
      name: 'main_storage_list_failed_duration',
      level: 'warning',
      message: "failed to list storage backend for 1m30s - last error: 'second'",
    });
  });

  test('one success ends the streak; the next starts anew', () => {
    const { tracker, advance } = start();
    tracker.failed(new Error('x'));
    advance(400_000);
    tracker.succeeded();
    expect(tracker.check()).toBeUndefined();
    tracker.failed(new Error('x'));
    advance(59_000);
    expect(tracker.check()).toBeUndefined();
  });
});

describe('an unfinished start', () => {
  test.each([
    ['{}', 400_000, []],
    ['{start: {report_healthz: true}}', 30_000, []],
    ['{start: {report_healthz: true}}', 60_000, ['warning']],
    ['{start: {report_healthz: true}}', 300_000, ['error']],
    ['{start: {report_healthz: true, error_duration: 0}}', 0, ['error']],
  ])('%s after %i ms', (yaml, ms, levels) => {
    const time = clock();
    const health = new DatabaseHealth('main', healthConfig(yaml), time);
    time.advance(ms);
    expect(health.checks().map(({ level }) => level)).toEqual(levels);
    health.started();
    expect(health.checks()).toEqual([]);
  });
});

const OTHER_MODE = {
  name: 'main__b__20240131-235959-012345678__Gabcdefghijkl__S7.pb.gz',
  error: 'written in shadow mode',
  otherMode: true,
};
const instanceStatus = (instance: string) => ({
  instance,
  newestMs: 0,
  mergedMs: undefined,
  lagMs: 0,
});

describe('conditions are warnings that say what to do', () => {
  const recently = { total: 3, lastMs: NOW_MS - 1000 };
  const longAgo = { total: 3, lastMs: NOW_MS - 3_700_000 };
  test.each<[string, Partial<DatabaseStatus>, string | undefined, RegExp]>([
    ['nothing', {}, undefined, /^$/],
    ['map full', { mapFull: true, error: 'x' }, 'main_map_full', /enlarge the map size/],
    ['LMDB failing', { error: 'disk full' }, 'main_lmdb_failed', /disk full/],
    [
      'quarantined objects',
      { quarantined: [{ name: 'bad.pb.gz', error: 'gzip' }] },
      'main_quarantined_objects',
      /bad\.pb\.gz \(gzip\).*snapshots remove/,
    ],
    [
      'an object without room',
      { refused: [{ name: 'large.pb.gz', error: 'it takes more than 4 MiB' }] },
      'main_object_too_large',
      /large\.pb\.gz \(it takes more than 4 MiB\).*lmdb-map-size/,
    ],
    [
      'objects of another schema mode',
      { quarantined: [OTHER_MODE], instances: [instanceStatus('b'), instanceStatus('c')] },
      'main_other_schema_mode',
      /^b writes .* \(written in shadow mode\).*schema_tracks_changes/,
    ],
    [
      'objects of another schema mode from everybody else',
      { quarantined: [OTHER_MODE], instances: [instanceStatus('b')] },
      'main_wrong_schema_mode',
      /^all other instances write .*schema_tracks_changes/,
    ],
    [
      'a schema version that is held back',
      { heldSchema: { version: 6, localVersion: 5 } },
      'main_schema_upgrade_held',
      /version 6 .* this host has 5: upgrade PowerDNS here, or set allow_schema_upgrade/,
    ],
    [
      'an object with too many DBIs',
      { quarantined: [{ name: 'many.pb.gz', error: 'more DBIs', exceedsDbis: true }] },
      'main_max_dbs',
      /^1 object is not merged.*many\.pb\.gz \(more DBIs\): raise options\.max_dbs.*restart/,
    ],
    [
      'local entries too large',
      { leftOut: { entries: 1, first: 'DBI zones, key "k"' } },
      'main_entries_left_out',
      /^1 local entry is .*DBI zones, key "k": a key may have 511 bytes, a value 256 MiB; shorten/,
    ],
    [
      'received entries too large',
      { receivedLeftOut: { entries: 2, first: 'DBI zones, key "k"', object: 'x.pb.gz' } },
      'main_received_entries_left_out',
      /^2 received entries are .*DBI zones, key "k" in x\.pb\.gz.*shorten/,
    ],
    ['regressions', { regressions: recently }, 'main_clock_behind', /set the clock/],
    ['old regressions', { regressions: longAgo }, undefined, /^$/],
    ['future entries', { futureEntries: recently }, 'main_clock_skew', /check the clocks/],
    [
      'looks that read the whole LMDB',
      { rescans: { ...recently, reason: 'a page is out of step' } },
      'main_lmdb_read_whole',
      /out of step; let no program write it without locks/,
    ],
    [
      'such looks long ago',
      { rescans: { ...longAgo, reason: 'a page is out of step' } },
      undefined,
      /^$/,
    ],
    ['old future entries', { futureEntries: longAgo }, undefined, /^$/],
    ['invalid values', { invalidValues: 2 }, 'main_invalid_values', /schema_tracks_changes/],
    ['a rejoin under way', { rejoin: { lastSyncMs: 0, postponed: undefined } }, undefined, /^$/],
    [
      'a rejoin that cannot be finished',
      { rejoin: { lastSyncMs: 0, postponed: 'x is damaged' } },
      'main_rejoin_pending',
      /last in sync at 1970.*x is damaged/,
    ],
    [
      'entries in the main database',
      { unnamedData: 'holds the application\'s own entries, the first is "user1"' },
      'main_unnamed_data',
      /the first is "user1": nothing is written into this LMDB until/,
    ],
    [
      'a damaged DBI',
      { refusedDbis: [{ name: 'records_v5', what: 'keys', cause: 'damage' }] },
      'main_dbi_out_of_order',
      /^keys of records_v5 are out of order: stop both, move the LMDB away, start: it is filled from the bucket$/,
    ],
    [
      'a DBI with an order of its own, and more of them than are named',
      {
        refusedDbis: Array.from({ length: 7 }, (_, i) => ({
          name: `dbi${i}`,
          what: 'values' as const,
          cause: 'own order' as const,
        })),
      },
      'main_dbi_out_of_order',
      /^values of dbi0 are in an order of the application's own.*; and 2 more$/,
    ],
    ['a shared name', { sharedName: ['a.x'] }, 'main_instance_name_shared', /a name of its own/],
  ])('%s', (_what, changes, name, message) => {
    const checks = conditionChecks(databaseStatus(changes), NOW_MS);
    expect(checks.map((check) => check.name)).toEqual(name === undefined ? [] : [name]);
    expect(checks.map((check) => check.level)).toEqual(name === undefined ? [] : ['warning']);
    expect(checks[0]?.message ?? '').toMatch(message);
  });
});

test('an object that needs more DBIs becomes an error, an entry left out stays a warning', () => {
  const conditions = new Conditions(60_000);
  const status = databaseStatus({
    quarantined: [{ name: 'many.pb.gz', error: 'more DBIs', exceedsDbis: true }],
    leftOut: { entries: 1, first: 'DBI zones, key "k"' },
  });
  const levels = (ms: number) => conditions.checks(status, NOW_MS + ms).map(({ level }) => level);
  expect(levels(0)).toEqual(['warning', 'warning']);
  expect(levels(60_000)).toEqual(['error', 'warning']);
});

describe('a condition that lasts', () => {
  const MINUTE = 60_000;
  const levels = (changes: Partial<DatabaseStatus>) => {
    const conditions = new Conditions(5 * MINUTE);
    const at = (ms: number) => conditions.checks(databaseStatus(changes), NOW_MS + ms);
    return [0, 4 * MINUTE, 5 * MINUTE, 50 * MINUTE].map((ms) => at(ms).map(({ level }) => level));
  };

  test.each([
    ['a full map', { mapFull: true }],
    ['an LMDB that cannot be used', { error: 'x' }],
  ])('%s keeps the database from sending or receiving: a failure in the end', (_what, changes) => {
    expect(levels(changes)).toEqual([['warning'], ['warning'], ['error'], ['error']]);
  });

  test('what lets the rest go on stays a warning', () => {
    const quarantined = [{ name: 'x', error: 'y' }];
    expect(levels({ quarantined }).flat()).toEqual(['warning', 'warning', 'warning', 'warning']);
  });

  test('begins anew when it was over', () => {
    const conditions = new Conditions(5 * MINUTE);
    const full = databaseStatus({ mapFull: true });
    conditions.checks(full, NOW_MS);
    conditions.checks(databaseStatus(), NOW_MS + 4 * MINUTE);
    expect(conditions.checks(full, NOW_MS + 6 * MINUTE)).toMatchObject([{ level: 'warning' }]);
  });
});

describe('/healthz', () => {
  function answer(options: { failMs?: number; changes?: Partial<DatabaseStatus> } = {}) {
    const time = clock();
    const health = new DatabaseHealth('main', healthConfig(), time);
    health.started();
    if (options.failMs !== undefined) {
      health.step('store').failed(new Error('denied'));
      time.advance(options.failMs);
    }
    const healthz = new Healthz({
      status: statusSource(databaseStatus(options.changes)),
      health: [health],
      hostname: 'h',
      errorAfterMs: 300_000,
      reportStartup: true,
      now: time.now,
    });
    const { statusCode, body } = healthz.answer();
    return { statusCode, body: JSON.parse(body) as Record<string, unknown> };
  }

  test("has upstream's fields", () => {
    const { statusCode, body } = answer();
    expect(statusCode).toBe(200);
    expect(body).toEqual({
      ok: true,
      has_warnings: false,
      status: 'OK',
      time: '2026-01-02T03:30:00.000Z',
      since: '2026-01-02T03:29:00.000Z',
      runtime: {
        arch: expect.stringMatching(/^(amd64|arm64|.+)$/) as string,
        os: process.platform,
        version: `node ${process.version}`,
        goroutines_count: expect.any(Number) as number,
        heap_objects_count: expect.any(Number) as number,
        alloc_bytes: expect.any(Number) as number,
        total_alloc_bytes: expect.any(Number) as number,
      },
      failures: {},
      warnings: {},
      metadata: { hostname: 'h', version: '1.2.3', startup_main: true },
    });
  });

  test('trouble with the queue of notices is a warning too', () => {
    const time = clock();
    const notices = new NoticeHealth(healthConfig().storageList, time.now);
    notices.uses('queue');
    notices.failed(new Error('no queue'));
    time.advance(400_000);
    const healthz = new Healthz({
      status: statusSource(databaseStatus()),
      health: [notices],
      hostname: 'h',
      errorAfterMs: 300_000,
      reportStartup: true,
      now: time.now,
    });
    const { statusCode, body } = healthz.answer();
    expect(statusCode).toBe(200);
    expect(JSON.parse(body)).toMatchObject({
      status: 'Warning',
      warnings: { notices_failed_duration: expect.stringContaining('no queue') as string },
      metadata: { hostname: 'h', version: '1.2.3' },
    });
  });

  test('warnings keep 200', () => {
    const { statusCode, body } = answer({ failMs: 60_000 });
    expect(statusCode).toBe(200);
    expect(body).toMatchObject({
      ok: true,
      has_warnings: true,
      status: 'Warning',
      warnings: {
        main_storage_store_failed_duration:
          "failed to write to storage backend for 1m0s - last error: 'denied'",
      },
    });
  });

  test('a failing check makes it 503', () => {
    const { statusCode, body } = answer({ failMs: 300_000, changes: { mapFull: true } });
    expect(statusCode).toBe(503);
    expect(body).toMatchObject({ ok: false, has_warnings: true, status: 'Unavailable' });
    expect(Object.keys(body['failures'] as object)).toEqual(['main_storage_store_failed_duration']);
    expect(Object.keys(body['warnings'] as object)).toEqual(['main_map_full']);
  });
});

test('only where everybody else disagrees does a schema mode become a failure, after the error duration', () => {
  const levels = (instances: string[]) => {
    const conditions = new Conditions(300_000);
    const status = databaseStatus({
      quarantined: [OTHER_MODE],
      instances: instances.map(instanceStatus),
    });
    return [0, 299_999, 300_000].map(
      (ms) => conditions.checks(status, NOW_MS + ms).map(({ level }) => level)[0],
    );
  };
  expect(levels(['b'])).toEqual(['warning', 'warning', 'error']);
  expect(levels(['b', 'c'])).toEqual(['warning', 'warning', 'warning']);
});
