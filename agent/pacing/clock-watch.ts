import type { Clock } from '../../protocol/time.ts';

/** A clock that is slewed loses or gains far less than this between two looks. */
const MAX_APART_MS = 5000;
/** How often to look while nothing is sent, so that slewing does not add up. */
export const CLOCK_LOOK_MS = 30_000;

/**
 * Notices that the wall clock was set: the time of day and the time that this machine has run disagree. Where a virtual
 * machine was put back to a snapshot of its memory, or runs a second time, that is what can be seen of it.
 */
export class ClockWatch {
  readonly #clock: Clock;
  readonly #monotonicMs: () => number;
  #offsetMs: number;

  constructor(clock: Clock, monotonicMs: () => number) {
    this.#clock = clock;
    this.#monotonicMs = monotonicMs;
    this.#offsetMs = this.#readOffset();
  }

  /** By how many milliseconds the wall clock was set since the last look; undefined: it was not. */
  look(): number | undefined {
    const offsetMs = this.#readOffset();
    const apartMs = offsetMs - this.#offsetMs;
    this.#offsetMs = offsetMs;
    return Math.abs(apartMs) > MAX_APART_MS ? Math.round(apartMs) : undefined;
  }

  #readOffset(): number {
    return Number(this.#clock.nowNs() / 1_000_000n) - this.#monotonicMs();
  }
}
