/**
 * Every limit of the file formats, with its unit and where it comes from. Reading allocates by what has
 * arrived, never by what a length field claims; these are the bounds beyond which input is refused.
 */

/** Bytes of an LMDB key at most. Source: LMDB 0.9 default build, `MDB_MAXKEYSIZE`. */
export const MAX_KEY_BYTES = 511;

/**
 * Bytes of one DBI name at most: it is a key of the root database.
 * @alias
 */
export const MAX_DBI_NAME_BYTES = MAX_KEY_BYTES;

/**
 * Bytes of one `KV` message at most (key, value and framing). A reader must hold an entry whole, so this bounds its
 * memory, also where the object is hostile. Larger values than this are not what a database of records holds.
 */
export const MAX_ENTRY_BYTES = 256 * 1024 ** 2;

/**
 * Bytes of a stored value at most, value header included, for its entry to be sent or merged. The rest of
 * {@link MAX_ENTRY_BYTES} is enough for key, framing and the longest header: what fits into an LMDB fits into an object.
 */
export const MAX_VALUE_BYTES = MAX_ENTRY_BYTES - 4096;

/** Bytes of an entry that is too large that must have arrived before it is passed over: its key stands there. */
export const ENTRY_HEAD_BYTES = 4096;

/** A value above this is written in pieces of about a block, without a copy of the whole. */
export const PIECEWISE_VALUE_BYTES = 1024 * 1024;

/** Bytes of a `Meta` message at most; 16 MiB hold a version vector of about 300,000 streams. */
export const MAX_META_BYTES = 16 * 1024 * 1024;

/** Streams in one version vector at most. */
export const MAX_VECTOR_STREAMS = 250_000;

/** Streams of one instance in a published vector at most: a run each, kept for two days after its last object is gone. */
export const MAX_INSTANCE_STREAMS = 1000;

/**
 * A `DBI` message up to this many bytes is held whole, so that its name, flags and transform are known before its
 * first entry wherever they stand in it. A larger one is streamed and must begin with its name. The writer's blocks
 * are below it. It also bounds the DBI messages kept back when they come before the format version.
 */
export const HELD_DBI_BYTES = 4 * 1024 * 1024;

/** Bytes of one block of the snapshot writer: a DBI larger than this becomes several messages of its name. */
export const SNAPSHOT_BLOCK_BYTES = 1024 * 1024;

/** Decompressed bytes of one object at most. Source: upstream's cap on one DBI message, 100 GiB. */
export const MAX_DECOMPRESSED_BYTES = 100 * 1024 ** 3;

/**
 * Decompressed bytes per compressed byte at most, above {@link DECOMPRESSION_ALLOWANCE_BYTES}. Deflate cannot pass
 * 1032; entries of a real database stay below 50, and runs of one byte compressed at level 1 reach about 230.
 */
export const MAX_DECOMPRESSION_RATIO = 512;

/** Decompressed bytes of which the ratio is not asked. */
export const DECOMPRESSION_ALLOWANCE_BYTES = 64 * 1024 * 1024;

/** Blocks that are compressed beside each other: one for each of zlib's usual four threads. */
export const GZIP_MEMBERS_IN_FLIGHT = 4;

/** Bytes of one chunk of decompressed data handed to the reader; each is a turn of the event loop. */
export const GUNZIP_CHUNK_BYTES = 256 * 1024;

/**
 * Objects up to this many compressed bytes are decompressed in one call without the thread pool, if the result
 * is at most {@link INLINE_DECOMPRESSED_BYTES}: a delta of one entry then takes 16 µs instead of 140 µs (Node 20).
 */
export const INLINE_COMPRESSED_BYTES = 32 * 1024;

/** Decompressed bytes at most in one call without the thread pool: about a millisecond of work. */
export const INLINE_DECOMPRESSED_BYTES = 512 * 1024;

/** Compressed bytes read at most for {@link readSnapshotHead}; the head of a usual object needs under 1 KiB. */
export const MAX_HEAD_BYTES = 32 * 1024 * 1024;

/** Characters of an object name at most when it is parsed. Source: S3's limit on keys, 1024 bytes. */
export const MAX_OBJECT_NAME_LENGTH = 1024;

/** Characters of an object name at most when it is made: file systems allow 255 and a temporary suffix needs some. */
export const MAX_NEW_OBJECT_NAME_LENGTH = 240;

/** Characters of a run's id at most when a name is parsed; new ones have {@link RUN_LENGTH}. */
export const MAX_RUN_LENGTH = 32;

/** Characters of a new run's id: 62 bits, so that two runs of one name never meet. */
export const RUN_LENGTH = 12;

/** Bytes of a manifest at most: a vector of {@link MAX_VECTOR_STREAMS} streams fits. */
export const MAX_MANIFEST_BYTES = 32 * 1024 * 1024;

/** Level-1 deltas in one manifest at most. */
export const MAX_LEVEL1_DELTAS = 10_000;

/** Bytes of a notice at most. Source: SQS's limit on messages is far above; ours have about 250 bytes. */
export const MAX_NOTICE_BYTES = 8 * 1024;
