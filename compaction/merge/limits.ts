/** Bounds of sorting and merging, with unit and reason. */

/** Bytes of keys and values that the sorter holds before it writes a sorted run to the scratch store. */
export const SORTER_BYTES = 24 * 1024 * 1024;

/** Entries that the sorter holds at most: 28 bytes of index each. */
export const SORTER_ENTRIES = 400_000;

/**
 * A DBI message up to this size is held whole by a cursor, a larger one is streamed. Small, because a fold
 * has a cursor per sorted input open at once.
 */
export const CURSOR_HELD_BYTES = 64 * 1024;

/**
 * DBIs of one fold at most: names are held in memory, and every agent creates them all. An LMDB with more is hardly
 * usable: each transaction costs time for each of them.
 */
export const DBIS_MAX = 10_000;

/** Decompressed bytes per step of a cursor; every open cursor holds about twice as many. */
export const CURSOR_CHUNK_BYTES = 128 * 1024;

/**
 * Sorted inputs merged at once. More are first merged in groups into scratch runs, so that the memory of a fold
 * does not grow with the number of instances: a cursor costs about 0.5 MiB, most of it zlib's and ours.
 */
export const MERGE_FAN_IN = 24;

/** gzip level of what the compactor writes: it is read by every new host, so worth more than speed. */
export const GZIP_LEVEL = 4;
