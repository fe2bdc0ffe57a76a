import { setTimeout as pause } from 'node:timers/promises';
import type { Sleep } from '../../agent/pacing/sleep.ts';
import { FakeClock } from './fake-clock.ts';

type Timer = { readonly atNs: bigint; readonly wake: () => void };

/** Real milliseconds for what a timer has set going: compression and files are not virtual. */
const SETTLE_MS = 2;
const ROUNDS = 2000;

/** A clock and the pauses by it: minutes pass as fast as what happens in them. */
export class VirtualTime {
  readonly clock = new FakeClock();
  readonly #timers = new Set<Timer>();

  get nowMs(): number {
    return Number(this.clock.nowNs() / 1_000_000n);
  }

  readonly sleep: Sleep = async (delayMs, signal) => {
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const timer: Timer = {
        atNs: this.clock.nowNs() + BigInt(Math.round(delayMs * 1e6)),
        wake: () => {
          this.#timers.delete(timer);
          signal.removeEventListener('abort', abort);
          resolve();
        },
      };
      const abort = () => {
        this.#timers.delete(timer);
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', abort, { once: true });
      this.#timers.add(timer);
    });
  };

  /** Lets so much time pass, timer by timer. */
  async pass(ms: number): Promise<void> {
    const endNs = this.clock.nowNs() + BigInt(Math.round(ms * 1e6));
    for (;;) {
      await pause(SETTLE_MS);
      const due = [...this.#timers]
        .filter(({ atNs }) => atNs <= endNs)
        .toSorted((one, other) => Number(one.atNs - other.atNs))[0];
      this.#moveTo(due?.atNs ?? endNs);
      if (due === undefined) {
        await pause(SETTLE_MS);
        return;
      }
      due.wake();
    }
  }

  /** Lets time pass until it is so, or throws. */
  async until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    for (let round = 0; round < ROUNDS; round += 1) {
      if (await isSo()) {
        return;
      }
      await this.pass(10);
    }
    throw new Error(`never came: ${what}`);
  }

  #moveTo(atNs: bigint): void {
    const aheadNs = atNs - this.clock.nowNs();
    if (aheadNs > 0n) {
      this.clock.advanceMs(Number(aheadNs) / 1e6);
    }
  }
}
