import type { Clock } from '../../protocol/time.ts';

/** A clock that only moves when told to; begins at 2026-01-01. */
export class FakeClock implements Clock {
  #nowNs = 1_767_225_600_000_000_000n;

  nowNs(): bigint {
    return this.#nowNs;
  }

  advanceMs(ms: number): void {
    this.#nowNs += BigInt(Math.round(ms * 1e6));
  }
}
