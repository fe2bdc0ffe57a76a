import { setTimeout as sleepFor } from 'node:timers/promises';

/** Resolves after `delayMs`; rejects with the signal's reason when it aborts. Injected, so that tests own time. */
export type Sleep = (delayMs: number, signal: AbortSignal) => Promise<void>;

/** Waits; rejects with the signal's reason as soon as it aborts. The production form of an injected {@link Sleep}. */
export async function sleep(delayMs: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  try {
    await sleepFor(delayMs, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/** Waits by `wait`; resolves with false when the signal ended the pause, and never rejects for that. */
export async function slept(wait: Sleep, delayMs: number, signal: AbortSignal): Promise<boolean> {
  if (!signal.aborted) {
    try {
      await wait(delayMs, signal);
    } catch (error) {
      if (!signal.aborted) {
        throw error;
      }
    }
  }
  return !signal.aborted;
}

/**
 * Waits for `work`, and aborts `stop` where it takes longer than `delayMs`. The work must heed `stop`: it is waited
 * for in either case.
 */
export async function abortedAfter(
  work: Promise<void>,
  options: { readonly delayMs: number; readonly sleep: Sleep; readonly stop: AbortController },
): Promise<void> {
  const done = new AbortController();
  void options.sleep(options.delayMs, done.signal).then(
    () => options.stop.abort(),
    () => undefined,
  );
  try {
    await work;
  } finally {
    done.abort();
  }
}
