/** Bounds and defaults of the compactor, with unit and reason. */

/** Compressed bytes up to which an object is fetched whole, several at once. Nearly every delta is below. */
export const SMALL_OBJECT_BYTES = 1024 * 1024;

/** Small objects fetched at once: hides the round trip of a delta (20 ms) and holds at most 16 MiB. */
export const SMALL_OBJECT_CONCURRENCY = 16;

/** Compressed bytes of full snapshots taken into one fold at most: they lie in the scratch store meanwhile. */
export const SPOOL_BYTES_MAX = 4 * 1024 ** 3;

/** Objects taken into one fold at most; the next run goes on from there. */
export const FOLD_OBJECTS_MAX = 100_000;

/** Objects listed at most; beyond, the run knows that it has not seen all and drops no tombstone. */
export const LISTED_OBJECTS_MAX = 500_000;

/** Objects of one run that storage may fail to deliver before the run gives up: storage itself is in trouble. */
export const FAILED_LOADS_MAX = 20;

/** Deletes under way at once. */
export const DELETE_CONCURRENCY = 16;

/** Level-1 deltas beside a base before the base is written anew: every new host reads them all. */
export const LEVEL1_COUNT_MAX = 8;

/** A base up to this many bytes is always written anew: that costs less than keeping levels. */
export const SMALL_BASE_BYTES = 1024 * 1024;

/** A base is written anew when what lies above it has more than this part of its bytes. */
export const BASE_DUE_RATIO = 0.25;

/** A base with tombstones, or with anything above it, is written anew at least so often: 24 hours in milliseconds. */
export const BASE_MAX_AGE_MS = 24 * 60 * 60 * 1000;

/** A level-1 delta is folded into the next one unless it is larger than this many times what is new. */
export const LEVEL1_GROWTH = 2;

/** Compressed bytes folded per second, cautiously: decides whether a base still fits into the time left. */
export const FOLD_BYTES_PER_SECOND = 3_000_000;

/** Part of the time for reading what is new; the rest is for folding, publishing and deleting. */
export const GATHER_TIME_SHARE = 0.4;

/** Default of how long an object stays after a published state covers it. Source: upstream's `must_keep_interval`. */
export const MUST_KEEP_MS = 10 * 60 * 1000;

/** Default age at which tombstones are dropped. Source: upstream's `sweeper.retention_days`, 370. */
export const TOMBSTONE_RETENTION_MS = 370 * 24 * 60 * 60 * 1000;

/** Replaced bases and level-1 deltas remembered in the manifest until they are deleted. */
export const RETIRED_MAX = 1000;

/** Instances whose newest object is asked for its schema mode, where the published state states none. */
export const FOLD_MODE_INSTANCES_MAX = 100;

/** A storage that was proven to keep the conditions of writes is believed for so long. */
export const CONDITION_PROOF_MS = 24 * 60 * 60 * 1000;

/** Age at which a probe of conditional writes is one that a killed run has left. */
export const PROBE_LEFT_MS = 60 * 60 * 1000;
