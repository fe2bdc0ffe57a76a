/** Of the time that the lock may be held, the part that is planned with; the rest is for what goes slower than before. */
const PLANNED_PART = 0.6;
/** What the commit of a page takes before one was measured: a disk of 200 MB a second. */
const FIRST_PAGE_MS = 0.02;
const FASTEST_PAGE_MS = 0.002;
/** Commits of fewer pages tell little: most of their time is one wait for the disk. */
const PAGES_TO_LEARN_FROM = 200;

/**
 * How much one transaction after the other may write, so that writing and committing stay within `maxLockHoldMs`. A
 * commit writes pages, and how long one takes is learned from the commits before.
 */
export class LockBudget {
  readonly #plannedMs: number;
  #pageMs = FIRST_PAGE_MS;
  #lockedMs = 0;
  #writtenMs = 0;
  #pages = 0;

  constructor(maxLockHoldMs: number) {
    this.#plannedMs = maxLockHoldMs * PLANNED_PART;
  }

  /** A transaction has the lock since this moment of `performance.now()`: what it did before counts, too. */
  begin(lockedMs: number): void {
    this.#lockedMs = lockedMs;
    this.#pages = 0;
  }

  /** True when a transaction that has to write so many pages must come to its end. */
  isSpent(pages: number): boolean {
    this.#pages = pages;
    return performance.now() - this.#lockedMs + pages * this.#pageMs > this.#plannedMs;
  }

  /** What comes now is the commit. */
  endWriting(): void {
    this.#writtenMs = performance.now();
  }

  /** The transaction is committed; it had the lock for so long. */
  learn(lockHeldMs: number): void {
    if (this.#pages < PAGES_TO_LEARN_FROM) {
      return;
    }
    const commitMs = lockHeldMs - (this.#writtenMs - this.#lockedMs);
    // A disk that was slow once (344 ms for one commit among 560, 10,000,000 entries) is slow again soon.
    this.#pageMs = Math.max(FASTEST_PAGE_MS, commitMs / this.#pages, this.#pageMs * 0.9);
  }
}
