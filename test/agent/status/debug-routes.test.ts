import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { DebugRoutes } from '../../../agent/status/debug-routes.ts';

const { signal } = new AbortController();
const url = (path: string) => new URL(path, 'http://agent');

/** A thread that does nothing but one function. */
const BUSY = `
  function burnInThisFunction() { for (const end = Date.now() + 5; Date.now() < end;); }
  setInterval(burnInThisFunction, 6);
  require('node:worker_threads').parentPort.postMessage('up');
`;

test('lists what there is', async () => {
  const answer = await new DebugRoutes().answer(url('/debug/pprof/'), signal);
  expect(answer?.statusCode).toBe(200);
  for (const path of ['profile', 'heap', 'resources', 'cmdline']) {
    expect(answer?.body).toContain(`/debug/pprof/${path}`);
    const there = await new DebugRoutes().answer(url(`/debug/pprof/${path}?seconds=0.01`), signal);
    expect(there?.statusCode).toBe(200);
  }
});

test.each(['/debug/pprof/goroutine', '/debug', '/debug/pprof/heapsnapshot'])(
  '%s is none of them',
  async (path) => {
    expect(await new DebugRoutes().answer(url(path), signal)).toBeUndefined();
  },
);

test('a CPU profile of the thread of a database shows what it does', async () => {
  const worker = new Worker(BUSY, { eval: true, name: 'lmdb main' });
  await once(worker, 'message');
  try {
    const answer = await new DebugRoutes().answer(
      url('/debug/pprof/profile?seconds=0.3&thread=main-db'),
      signal,
    );
    expect(answer).toMatchObject({ statusCode: 400 });
    expect(answer?.body).toContain('there are main, lmdb main');
    const profiled = await new DebugRoutes().answer(
      url(`/debug/pprof/profile?seconds=0.3&thread=${encodeURIComponent('lmdb main')}`),
      signal,
    );
    expect(profiled?.fileName).toBe('lmdb-main.cpuprofile');
    const { nodes } = JSON.parse(profiled?.body ?? '') as {
      nodes: { callFrame: { functionName: string } }[];
    };
    expect(nodes.map(({ callFrame }) => callFrame.functionName)).toContain('burnInThisFunction');
  } finally {
    await worker.terminate();
  }
});

test('a heap profile names sizes and functions, and no value', async () => {
  const kept: string[][] = [];
  const taking = new DebugRoutes().answer(url('/debug/pprof/heap?seconds=0.3'), signal);
  const busy = setInterval(
    () => kept.push(Array.from({ length: 20_000 }, () => `secret ${kept.length}`)),
    1,
  );
  const answer = await taking;
  clearInterval(busy);
  expect(answer?.fileName).toBe('main.heapprofile');
  expect(JSON.parse(answer?.body ?? '')).toMatchObject({ head: { children: expect.any(Array) } });
  expect(kept.length).toBeGreaterThan(0);
  expect(answer?.body).not.toContain('secret');
});

test.each(['0', '-1', '121', 'x', 'NaN'])('%s seconds are refused', async (seconds) => {
  const answer = await new DebugRoutes().answer(
    url(`/debug/pprof/profile?seconds=${seconds}`),
    signal,
  );
  expect(answer?.statusCode).toBe(400);
});

test('one profile at a time; it ends when the client has gone', async () => {
  const routes = new DebugRoutes();
  const gone = new AbortController();
  const first = routes.answer(url('/debug/pprof/profile?seconds=100'), gone.signal);
  const second = await routes.answer(url('/debug/pprof/profile?seconds=1'), signal);
  expect(second?.statusCode).toBe(409);
  gone.abort();
  expect((await first)?.statusCode).toBe(500);
  const third = await routes.answer(url('/debug/pprof/profile?seconds=0.01'), signal);
  expect(third?.statusCode).toBe(200);
});
