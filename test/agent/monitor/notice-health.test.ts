import { NoticeHealth } from '../../../agent/monitor/notice-health.ts';

function start() {
  let time = 0;
  const limits = { intervalMs: 5000, warnDurationMs: 60_000, errorDurationMs: 300_000 };
  const health = new NoticeHealth(limits, () => time);
  health.uses('queue');
  return { health, advance: (ms: number) => (time += ms) };
}

test('a queue in trouble is a warning after a while, and never more: listing goes on', () => {
  const { health, advance } = start();
  health.failed(new Error('cannot receive from the queue: denied'));
  advance(59_000);
  expect(health.checks()).toEqual([]);
  advance(3_600_000);
  health.failed(new Error('still denied'));
  expect(health.checks()).toEqual([
    {
      name: 'notices_failed_duration',
      level: 'warning',
      message:
        "failed to receive notices for 1h0m59s - last error: 'still denied'; the storage is listed instead",
    },
  ]);
});

test('a source that no longer asks for listings is a failure: nothing else would find what is stored', () => {
  const { health, advance } = start();
  health.expectsLists(600_000);
  advance(600_000);
  expect(health.checks()).toEqual([]);
  health.listAsked();
  advance(600_000 + 60_000);
  expect(health.checks()).toMatchObject([{ name: 'notices_stalled', level: 'warning' }]);
  advance(240_000);
  expect(health.checks()).toMatchObject([
    { name: 'notices_stalled', level: 'error', message: expect.stringContaining('due 5m0s ago') },
  ]);
  health.listAsked();
  expect(health.checks()).toEqual([]);
});

test('the status says at once since when and why, until it works again', () => {
  const { health, advance } = start();
  advance(1000);
  health.failed(new Error('denied'));
  advance(1000);
  health.failed(new Error('gone'));
  expect(health.status()).toEqual({ source: 'queue', trouble: { sinceMs: 1000, error: 'gone' } });
  health.worked();
  expect(health.status()).toEqual({ source: 'queue', trouble: undefined });
  expect(health.checks()).toEqual([]);
});
