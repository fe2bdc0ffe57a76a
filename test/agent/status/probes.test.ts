import { parseConfig } from '../../../agent/config/config.ts';
import { DatabaseHealth } from '../../../agent/monitor/health.ts';
import type { DatabaseStatus } from '../../../agent/monitor/status.ts';
import { Healthz } from '../../../agent/status/healthz.ts';
import { Watchdog } from '../../../agent/watchdog/watchdog.ts';
import { databaseStatus, NOW_MS, statusSource } from '../../support/status.ts';

const MINUTE = 60_000;
const { health: config } = parseConfig('lmdbs: {main: {path: /db}}', {
  fileName: 'x',
  processEnv: {},
  hostname: 'h',
}).config;

function start(...databases: readonly DatabaseStatus[]) {
  let nowMs = NOW_MS;
  const now = () => nowMs;
  const watchdog = new Watchdog(now);
  const health = new DatabaseHealth('main', config, { now, watchdog });
  const healthz = new Healthz({
    status: statusSource(...databases),
    health: [health],
    hostname: 'h',
    errorAfterMs: 5 * MINUTE,
    reportStartup: true,
    now,
  });
  const read = ({ statusCode, body }: { statusCode: number; body: string }) => [
    statusCode,
    JSON.parse(body) as unknown,
  ];
  return {
    health,
    watchdog,
    advance: (ms: number) => (nowMs += ms),
    ready: () => read(healthz.ready()),
    live: () => read(healthz.live()),
    healthy: () => healthz.answer().statusCode,
  };
}

describe('/readyz', () => {
  test('is 200 once every database has had a complete pass', () => {
    expect(start(databaseStatus()).ready()).toEqual([200, { ready: true, missing: {} }]);
  });

  test.each([
    ['the start is not finished', { started: false }],
    ['what is published could not be read yet', { lastPassMs: undefined }],
  ])('is 503 while %s, and names the database, where /healthz is 200', (_what, changes) => {
    const { ready, healthy } = start(databaseStatus(), databaseStatus({ name: 'b', ...changes }));
    const missing = { b: 'the initial sync is not done: no listing pass has been complete' };
    expect(ready()).toEqual([503, { ready: false, missing }]);
    expect(healthy()).toBe(200);
  });

  test('is 503 with the reason while anything is in error, not for a warning', () => {
    const { ready, health, advance } = start(databaseStatus());
    health.step('list').failed(new Error('denied'));
    advance(2 * MINUTE);
    expect(ready()).toMatchObject([200, { missing: {} }]);
    advance(3 * MINUTE);
    expect(ready()).toMatchObject([
      503,
      { missing: { main_storage_list_failed_duration: expect.stringContaining('denied') } },
    ]);
  });

  test('is 503 before there is any database', () => {
    expect(start().ready()).toMatchObject([503, { missing: { agent: expect.any(String) } }]);
  });
});

describe('/livez', () => {
  function stuck(waitsFor: string | undefined) {
    const started = start(databaseStatus());
    const { watchdog, advance } = started;
    watchdog.probe('lmdb', { beats: () => 0, waitsFor: () => waitsFor });
    void watchdog.loop('lmdb').during('the LMDB to merge x', () => new Promise(() => undefined));
    advance(9 * MINUTE);
    expect(started.live()).toEqual([200, { live: true, missing: {} }]);
    advance(MINUTE);
    return started;
  }

  test('is 503 where the thread of an LMDB does not answer', () => {
    expect(stuck(undefined).live()).toMatchObject([503, { live: false }]);
  });

  test('is 200 while another program has the write lock: a restart would not help', () => {
    const { live, ready } = stuck('the write lock');
    expect(live()).toMatchObject([200, { live: true }]);
    expect(ready()).toMatchObject([
      503,
      { missing: { main_lmdb_stalled: expect.stringContaining('which waits for the write lock') } },
    ]);
  });

  test('is 200 while the storage cannot be reached', () => {
    const { live, health, advance, healthy } = start(databaseStatus({ started: false }));
    health.step('bucket id').failed(new Error('refused'));
    advance(60 * MINUTE);
    expect(healthy()).toBe(503);
    expect(live()).toMatchObject([200, { live: true }]);
  });
});
