/** Bounds and defaults of the compactor, with unit and reason. */

/** Compressed bytes up to which an object is fetched whole, several at once. Nearly every delta is below. */
export const SMALL_OBJECT_BYTES = 1024 * 1024;

/** Small objects fetched at once: hides the round trip of a delta (20 ms) and holds at most 16 MiB. */
export const SMALL_OBJECT_CONCURRENCY = 16;

/** Compressed bytes of full snapshots taken into one fold at most: they lie in the scratch store meanwhile. */
export const SPOOL_BYTES_MAX = 4 * 1024 ** 3;

/** Objects taken into one fold at most; the next step goes on from there. */
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

/** Compressed bytes folded per second, cautiously: decides which full snapshots wait for a step of their own. */
export const FOLD_BYTES_PER_SECOND = 3_000_000;

/** How many times as long as reading the writing of a run's first step may take: so an eighth of the time is read. */
export const FIRST_WRITE_RATIO = 7;

/** The least, and the most, time that is kept for writing later steps, in times of the reading. */
export const WRITE_RATIO_MIN = 1.5;
export const WRITE_RATIO_MAX = 15;

/** A base that did not fit into the time of a run is tried again after this: 24 hours in milliseconds. */
export const BASE_RETRY_MS = 24 * 60 * 60 * 1000;

/** A run with so many times the time tries a base at once that did not fit. */
export const BASE_TIME_GROWTH = 1.2;

/** Part of the free scratch space for full snapshots of one step: what is written needs as much again. */
export const SPOOL_SHARE = 0.4;

/** Default of how long an object stays after a published state covers it. Source: upstream's `must_keep_interval`. */
export const MUST_KEEP_MS = 10 * 60 * 1000;

/**
 * How long a stream without an object stays in the vector. Safe with any length: a host that was away for longer reads
 * the base. Two days, so that a weekend of an idle host costs nothing.
 */
export const PRUNE_AFTER_MS = 2 * 24 * 60 * 60 * 1000;

/** Replaced bases and level-1 deltas remembered in the manifest until they are deleted. */
export const RETIRED_MAX = 1000;

/** Instances whose newest object is asked for its schema mode, where the published state states none. */
export const FOLD_MODE_INSTANCES_MAX = 100;

/** A storage that was proven to keep the conditions of writes is believed for so long. */
export const CONDITION_PROOF_MS = 24 * 60 * 60 * 1000;

/** Age at which a probe of conditional writes is one that a killed run has left. */
export const PROBE_LEFT_MS = 60 * 60 * 1000;

/** Age of an object at which a number that is missing below it counts as deleted. Listings may lag behind by seconds. */
export const GAP_AGE_MS = 60 * 1000;
