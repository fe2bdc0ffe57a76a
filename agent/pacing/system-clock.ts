import type { Clock } from '../../protocol/time.ts';

/**
 * The host's wall clock in nanoseconds. It follows the system's clock when that is set; between two of its
 * milliseconds it goes on by the monotonic clock, and it never gives the same time twice in one thread.
 */
class SystemClock implements Clock {
  #lastNs = 0n;
  #milli = 0;
  #milliAtUs = 0;

  nowNs(): bigint {
    const milli = Date.now();
    const monotonicUs = performance.now() * 1000;
    if (milli !== this.#milli) {
      this.#milli = milli;
      this.#milliAtUs = monotonicUs;
    }
    const withinUs = Math.min(999, Math.max(0, monotonicUs - this.#milliAtUs));
    const nowNs = BigInt(milli) * 1_000_000n + BigInt(Math.round(withinUs * 1000));
    // Set back by hand or by NTP it goes back as well; standing still it moves by a nanosecond.
    if (nowNs <= this.#lastNs && this.#lastNs - nowNs < 1_000_000n) {
      this.#lastNs += 1n;
    } else {
      this.#lastNs = nowNs;
    }
    return this.#lastNs;
  }
}

export const systemClock: Clock = new SystemClock();
