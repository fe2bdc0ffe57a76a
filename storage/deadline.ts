import { setMaxListeners } from 'node:events';

import { SyncError } from '../protocol/errors.ts';
import { timerMs } from '../protocol/time.ts';
import type { StoreHooks } from './requests.ts';

/**
 * A caller's signal together with a time limit, as one signal. Must be disposed: until then it holds a timer and a
 * listener. (`AbortSignal.any` would leak a listener per call on a signal that lives as long as the process.)
 */
export class Deadline implements Disposable {
  readonly signal: AbortSignal;
  readonly #caller: AbortSignal;
  readonly #forward: () => void;
  readonly #timer: NodeJS.Timeout;
  readonly #done: (() => void) | undefined;

  constructor(
    caller: AbortSignal,
    timeoutMs: number,
    { action, onOperation }: { readonly action: string } & Pick<StoreHooks, 'onOperation'>,
  ) {
    this.#done = onOperation?.(action);
    const controller = new AbortController();
    this.signal = controller.signal;
    // One process has many requests under way on one signal; each takes its listener away when it ends, so the usual
    // warning about a leak would be wrong.
    setMaxListeners(0, caller, controller.signal);
    this.#caller = caller;
    this.#forward = () => controller.abort(caller.reason);
    caller.addEventListener('abort', this.#forward, { once: true });
    this.#timer = setTimeout(() => {
      controller.abort(
        new SyncError('STORAGE_FAILED', `cannot ${action}: not done within ${timeoutMs} ms`, {
          hint: 'Check the network to the storage, or raise client_timeout.',
          retryable: true,
        }),
      );
    }, timerMs(timeoutMs));
    // The request itself keeps the process alive as long as it is under way.
    this.#timer.unref();
    if (caller.aborted) {
      this.#forward();
    }
  }

  /** What a failed operation rejects with: the reason of the abort, if that is what ended it. */
  reasonOf(error: unknown): unknown {
    return this.signal.aborted ? this.signal.reason : error;
  }

  [Symbol.dispose](): void {
    this.#done?.();
    clearTimeout(this.#timer);
    this.#caller.removeEventListener('abort', this.#forward);
  }
}
