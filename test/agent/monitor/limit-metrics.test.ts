import { Registry } from 'prom-client';
import { Semaphore } from '../../../agent/pacing/semaphore.ts';
import { LimitMetrics } from '../../../agent/monitor/limit-metrics.ts';

function start(places: number) {
  let time = 0;
  const registry = new Registry();
  const metrics = new LimitMetrics(registry, () => time);
  const limit = metrics.measured(new Semaphore(places), { lmdb: 'main', limit_name: 'download' });
  const value = async (name: string) => {
    const found = (await registry.metrics())
      .split('\n')
      .find((line) =>
        line.startsWith(`lightningstream_climit_${name}{lmdb="main",limit_name="download"}`),
      );
    return Number(found?.split(' ').at(-1));
  };
  return { limit, value, advance: (ms: number) => (time += ms) };
}
const { signal } = new AbortController();

test('a limit that nobody has used yet is there with its places', async () => {
  const { value } = start(2);
  expect(await value('limit')).toBe(2);
  expect(await value('active')).toBe(0);
  expect(await value('waiting')).toBe(0);
  expect(await value('acquired_total')).toBe(0);
});

test('tells who holds a place, who waits, and for how long', async () => {
  const { limit, value, advance } = start(1);
  const first = await limit.acquire(signal);
  const second = limit.acquire(signal);
  advance(3000);
  expect(await value('active')).toBe(1);
  expect(await value('waiting')).toBe(1);
  first();
  first();
  const release = await second;
  expect(await value('active')).toBe(1);
  expect(await value('waiting')).toBe(0);
  expect(await value('waiting_seconds_sum')).toBe(3);
  expect(await value('active_seconds_sum')).toBe(3);
  expect(await value('active_seconds_count')).toBe(1);
  release();
  expect(await value('active')).toBe(0);
  expect(await value('acquired_total')).toBe(2);
});

test('who gives up waiting is not counted as waiting any more', async () => {
  const { limit, value } = start(1);
  await limit.acquire(signal);
  const giveUp = new AbortController();
  const waiting = limit.acquire(giveUp.signal);
  giveUp.abort(new Error('enough'));
  await expect(waiting).rejects.toThrow('enough');
  expect(await value('waiting')).toBe(0);
  expect(await value('acquired_total')).toBe(1);
});
