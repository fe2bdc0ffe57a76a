import type { Sleep } from './sleep.ts';

/**
 * Lets one loop wait for "there is something to do" from anywhere. Notices given while nobody waits are kept
 * (as one), so none is lost between looking and waiting.
 */
export class Wakeup {
  #pending = false;
  #wake: (() => void) | undefined;

  notify(): void {
    this.#pending = true;
    this.#wake?.();
  }

  /**
   * Resolves at the next (or an already given) notice, after `timeoutMs` (may be infinite), or when `signal` aborts;
   * never rejects.
   */
  async wait(signal: AbortSignal, timeoutMs: number, sleep: Sleep): Promise<void> {
    if (!this.#pending && !signal.aborted) {
      if (Number.isFinite(timeoutMs)) {
        await this.#waitAtMost(signal, timeoutMs, sleep);
      } else {
        await this.#noticeOrAbort(signal);
      }
    }
    this.#pending = false;
  }

  /** Without a timer: this is the wait of every change, and ending a timer early costs half a millisecond of CPU. */
  async #noticeOrAbort(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const end = () => {
        signal.removeEventListener('abort', end);
        resolve();
      };
      signal.addEventListener('abort', end, { once: true });
      this.#wake = end;
    });
    this.#wake = undefined;
  }

  async #waitAtMost(signal: AbortSignal, timeoutMs: number, sleep: Sleep): Promise<void> {
    const timer = new AbortController();
    const noticed = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    const slept = sleep(timeoutMs, AbortSignal.any([signal, timer.signal])).catch(() => undefined);
    await Promise.race([noticed, slept]);
    this.#wake = undefined;
    timer.abort();
    await slept;
  }
}
