import type { Clock } from '../../protocol/time.ts';

/**
 * Bounds the request bill under a long stream of changes: on average one take per `intervalMs`, `burst` at once
 * after a quiet time. An interval of 0 means no bound.
 */
export class TokenBucket {
  readonly #intervalMs: number;
  readonly #burst: number;
  readonly #clock: Clock;
  #tokens: number;
  #filledAtNs: bigint;

  constructor(options: { intervalMs: number; burst: number; clock: Clock }) {
    this.#intervalMs = options.intervalMs;
    this.#burst = Math.max(1, options.burst);
    this.#clock = options.clock;
    this.#tokens = this.#burst;
    this.#filledAtNs = options.clock.nowNs();
  }

  /** Milliseconds until a token is there; 0 = now. */
  waitMs(): number {
    this.#refill();
    return this.#tokens >= 1 ? 0 : Math.ceil((1 - this.#tokens) * this.#intervalMs);
  }

  take(): void {
    this.#refill();
    this.#tokens = Math.max(0, this.#tokens - 1);
  }

  #refill(): void {
    const nowNs = this.#clock.nowNs();
    if (this.#intervalMs === 0) {
      this.#tokens = this.#burst;
    } else if (nowNs > this.#filledAtNs) {
      const gained = Number(nowNs - this.#filledAtNs) / 1e6 / this.#intervalMs;
      this.#tokens = Math.min(this.#burst, this.#tokens + gained);
    }
    // A clock that steps back gives nothing and takes nothing.
    this.#filledAtNs = nowNs;
  }
}
