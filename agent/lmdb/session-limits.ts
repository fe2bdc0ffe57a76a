/** Writes of one merge that are held in memory; a larger merge is checked whole first and then applied in slices. */
export const WRITE_SET_BYTES = 24 * 1024 * 1024;
/** Values of regressed entries held at once; more of them are put back in several rounds. */
export const REGRESSION_BYTES = 8 * 1024 * 1024;
/** Rounds of putting back before the rest waits for the next detection. */
export const MAX_PUT_BACK_ROUNDS = 1000;
/** The clock is looked at after this many writes of a transaction. */
export const WRITES_PER_CLOCK_LOOK = 64;
