import { setTimeout as sleep } from 'node:timers/promises';

export type WaitOptions = { readonly timeoutMs: number; readonly what: string };

/**
 * Polls until the condition holds and resolves with the time that took, in milliseconds.
 * Looks every millisecond, so that the looking takes no CPU from what is looked at.
 */
export async function waitUntil(condition: () => boolean, options: WaitOptions): Promise<number> {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > options.timeoutMs) {
      throw new Error(`${options.what}: not within ${options.timeoutMs} ms`);
    }
    await sleep(1);
  }
  return performance.now() - start;
}
