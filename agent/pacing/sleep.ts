import { MAX_TIMER_MS } from '../../protocol/time.ts';

/** Resolves after `delayMs`; rejects with the signal's reason when it aborts. Injected, so that tests own time. */
export type Sleep = (delayMs: number, signal: AbortSignal) => Promise<void>;

/**
 * Waits, however long (Infinity: until the abort); rejects with the signal's reason as soon as it aborts. The production
 * form of an injected {@link Sleep}.
 */
export async function sleep(delayMs: number, signal: AbortSignal): Promise<void> {
  // One timer cannot be set for more, and would fire at once.
  let leftMs = delayMs;
  for (; leftMs > MAX_TIMER_MS; leftMs -= MAX_TIMER_MS) {
    await timer(MAX_TIMER_MS, signal);
  }
  await timer(leftMs, signal);
}

async function timer(delayMs: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const abort = () => {
      clearTimeout(timeout);
      reject(signal.reason as Error);
    };
    const timeout = setTimeout(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    }, delayMs);
    signal.addEventListener('abort', abort, { once: true });
  });
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
