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

describe('a pause that is longer than a timer can be', () => {
  const HOUR_MS = 3_600_000;

  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    jest.useRealTimers();
  });

  test('of 720 hours ends after 720 hours, not at once', async () => {
    let hasEnded = false;
    const sleeping = sleep(720 * HOUR_MS, new AbortController().signal).then(() => {
      hasEnded = true;
    });
    await jest.advanceTimersByTimeAsync(719 * HOUR_MS);
    expect(hasEnded).toBe(false);
    await jest.advanceTimersByTimeAsync(HOUR_MS);
    await sleeping;
    expect(hasEnded).toBe(true);
  });

  test('without an end lasts until the abort', async () => {
    const stop = new AbortController();
    let hasEnded = false;
    const sleeping = slept(sleep, Number.POSITIVE_INFINITY, stop.signal).finally(() => {
      hasEnded = true;
    });
    await jest.advanceTimersByTimeAsync(10_000 * HOUR_MS);
    expect(hasEnded).toBe(false);
    stop.abort();
    expect(await sleeping).toBe(false);
  });
});
