import type { Occurrences } from '../status.ts';

/** What goes on and on is news again only after it has stopped for this long. */
const QUIET_MS = 60_000;

/** Counts how often something has happened, and tells which times are worth a line in the log. */
export class OccurrenceCount {
  readonly #now: () => number;
  #occurrences: Occurrences = { total: 0, lastMs: undefined };

  constructor(now: () => number) {
    this.#now = now;
  }

  get occurrences(): Occurrences {
    return this.#occurrences;
  }

  /** True if it is news; all of it is counted. */
  add(count: number): boolean {
    const { total, lastMs } = this.#occurrences;
    const nowMs = this.#now();
    this.#occurrences = { total: total + count, lastMs: nowMs };
    return lastMs === undefined || nowMs - lastMs >= QUIET_MS;
  }
}
