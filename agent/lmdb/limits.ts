/** Writes of one merge that are held in memory; a larger merge is checked whole first and then applied in slices. */
export const WRITE_SET_BYTES = 8 * 1024 * 1024;
/** Values of regressed entries held at once; more of them are put back while they are found. */
export const REGRESSION_BYTES = 8 * 1024 * 1024;
/** Rounds of putting back before the rest waits for the next detection. */
export const MAX_PUT_BACK_ROUNDS = 1000;
/** Keys of registers that are behind the application, as found by diffs; more of them are found by comparing all. */
export const BEHIND_BYTES = 8 * 1024 * 1024;
/** Keys that a comparison of everything collects before they are stamped. */
export const COMPARE_BYTES = 4 * 1024 * 1024;
/**
 * Registers that a transaction with other work may stamp, or put back: a few milliseconds.
 * More of them go first, by themselves.
 */
export const STAMPS_WITH_MERGE = 2000;
/** Of the time that the lock may be held, the part in which the application's last changes are looked for. */
export const DIFF_PART = 0.2;
/** Times that the lock is given back for them, before the transaction looks at its own keys only. */
export const MAX_GIVEN_BACK = 3;
/** Times that a transaction is tried at all. */
export const MAX_TRIES = 10;
/** Transactions of catching up with the application before it waits for the next detection. */
export const MAX_CATCH_UP_ROUNDS = 1000;
/** Of the time that the lock may be held, the part in which registers are stamped; the rest is for the commit. */
export const STAMP_PART = 0.3;
/** The application's entries in a DBI without registers from which on these are made in bulk. */
export const FILL_ENTRIES_MIN = 1000;
/** Times that the reading of such a DBI begins anew because the application has committed meanwhile. */
export const MAX_FILL_ROUNDS = 20;
/** The clock is looked at after this many writes of a transaction. */
export const WRITES_PER_CLOCK_LOOK = 64;
/** Keys of the version vector that one transaction writes: a millisecond or two; the others go with the next. */
export const VECTOR_KEYS_PER_TXN = 500;
/** Ranges of our own merges that are remembered; each look after a transaction of ours reads them all. */
export const MERGED_RANGES_MAX = 1000;
/** Ranges that one transaction removes. */
export const MERGED_REMOVED_PER_TXN = 1000;
