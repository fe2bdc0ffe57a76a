import { abortedAfter, sleep, slept } from '../../../agent/pacing/sleep.ts';

test('a sleep ends with the reason of the abort', async () => {
  const controller = new AbortController();
  const sleeping = sleep(60_000, controller.signal);
  controller.abort(new Error('stopped'));
  await expect(sleeping).rejects.toThrow('stopped');
  await expect(sleep(60_000, controller.signal)).rejects.toThrow('stopped');
  await expect(sleep(1, new AbortController().signal)).resolves.toBeUndefined();
});

test('slept says whether the pause was whole, and hands on what is no abort', async () => {
  const stop = new AbortController();
  expect(await slept(sleep, 1, stop.signal)).toBe(true);
  const broken = () => Promise.reject(new Error('no timers'));
  await expect(slept(broken, 1, stop.signal)).rejects.toThrow('no timers');
  const sleeping = slept(sleep, 60_000, stop.signal);
  stop.abort();
  expect(await sleeping).toBe(false);
  expect(await slept(broken, 1, stop.signal)).toBe(false);
});

describe('work with a limit', () => {
  test('that ends by itself is not stopped, and its timer ends', async () => {
    const stop = new AbortController();
    let timer: AbortSignal | undefined;
    const pause = (delayMs: number, signal: AbortSignal) => {
      timer = signal;
      return sleep(delayMs, signal);
    };
    await abortedAfter(Promise.resolve(), { delayMs: 60_000, sleep: pause, stop });
    expect(stop.signal.aborted).toBe(false);
    expect(timer?.aborted).toBe(true);
  });

  test('that takes too long is stopped, and still waited for', async () => {
    const stop = new AbortController();
    const steps: string[] = [];
    const work = new Promise<void>((resolve) => {
      stop.signal.addEventListener('abort', () => {
        steps.push('stopped');
        resolve();
      });
    });
    await abortedAfter(work, { delayMs: 1, sleep, stop });
    expect(steps).toEqual(['stopped']);
  });
});
