import {
  BASE_RETRY_MS,
  BASE_TIME_GROWTH,
  FIRST_WRITE_RATIO,
  FOLD_BYTES_PER_SECOND,
  WRITE_RATIO_MAX,
  WRITE_RATIO_MIN,
} from './limits.ts';
import { type CompactOptions, timeLeftMs } from './run-context.ts';
import type { BaseTooLong } from './upkeep.ts';

/**
 * How the steps of a run divide its time. The first step reads little, so that it can surely be written and published;
 * what its writing took decides how much the next one may read.
 */
export class Pace {
  readonly #run: CompactOptions;
  /** Milliseconds that writing takes per millisecond of reading. */
  #writeRatio = FIRST_WRITE_RATIO;

  constructor(run: CompactOptions) {
    this.#run = run;
  }

  /** Milliseconds after which a step begins to read no further object. */
  get gatherMs(): number {
    return timeLeftMs(this.#run) / (1 + this.#writeRatio);
  }

  /** Full snapshots above this many compressed bytes wait for a step of their own. */
  get largeBytes(): number {
    return (timeLeftMs(this.#run) / 1000 / (1 + FIRST_WRITE_RATIO)) * FOLD_BYTES_PER_SECOND;
  }

  /** Learns from a step that was published. Twice what it took is kept for the next one. */
  learn(took: { readonly gatherMs: number; readonly writeMs: number }): void {
    const ratio = (2 * took.writeMs) / Math.max(took.gatherMs, 1);
    this.#writeRatio = Math.min(Math.max(ratio, WRITE_RATIO_MIN), WRITE_RATIO_MAX);
  }
}

/**
 * The deadline of a way to write that may take too long: what is left after it is enough for a smaller one. Reading
 * took `gatherMs`, so writing the same bytes takes about as long again.
 */
export function deadlineWithReserve(run: CompactOptions, gatherMs: number): number {
  const leftMs = timeLeftMs(run);
  const reserveMs = Math.min(leftMs / 2, Math.max(2 * gatherMs, leftMs / 4));
  return run.monotonicMs() + leftMs - reserveMs;
}

/** True if a base did not fit into about this much time, or more, not long ago. */
export function isTooLong(note: BaseTooLong | undefined, run: CompactOptions): boolean {
  if (note === undefined) {
    return false;
  }
  const sinceMs = Number((run.nowNs() - note.atNs) / 1_000_000n);
  return (
    timeLeftMs(run) <= BASE_TIME_GROWTH * note.timeMs && sinceMs >= 0 && sinceMs < BASE_RETRY_MS
  );
}
