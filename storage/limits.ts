/** Bytes read from a file, and handed on, at a time: large enough that the thread pool's hand-over does not count. */
export const READ_CHUNK_BYTES = 256 * 1024;

/** Files looked at by `stat` at once while listing a folder; the thread pool has four threads. */
export const STAT_CONCURRENCY = 32;

/** A temporary file that nobody wrote to for so long belongs to a dead writer; every living one writes within seconds. */
export const STALE_TEMP_MS = 60 * 60 * 1000;

/** A lock that stays the same for so long, while somebody waits for it, belongs to a dead holder. */
export const STALE_LOCK_MS = 10_000;

/** A holder that was stopped for longer than this gives up instead of writing: well below {@link STALE_LOCK_MS}. */
export const LOCK_HOLD_MAX_MS = 2_000;

/** Waiting for a lock ends with an error after this: enough for a dead holder and several living ones. */
export const LOCK_WAIT_MAX_MS = 30_000;

/** Pause between two looks at a lock that another writer holds; a holder needs about a millisecond. */
export const LOCK_POLL_MS = 3;

/** Objects up to this size are one PUT; larger ones go in parts of at least this size (S3's minimum is 5 MiB). */
export const PART_BYTES = 8 * 1024 * 1024;

/** Most parts per object, S3's bound (Azure's is 50,000 blocks); larger objects get larger parts. */
export const PARTS_MAX = 10_000;

/** Parts under way at once unless configured: two keep a line busy and hold 16 MiB. */
export const S3_PART_CONCURRENCY = 2;

/** A download that delivers no byte for so long is ended, so that a dead peer cannot hold a receiver. */
export const STALL_TIMEOUT_MS = 30_000;

/** Tries of one request by the SDK of S3 or Azure, with its own backoff between them; rounds are the caller's. */
export const REQUEST_ATTEMPTS = 3;

/** Tries of a conditional write that S3 answers with "409 conflict: try again". */
export const S3_CONFLICT_ATTEMPTS = 5;

/** Names per LIST request: S3's maximum. */
export const S3_LIST_PAGE = 1000;

/** Blobs per listing request: Azure's maximum. */
export const AZURE_LIST_PAGE = 5000;

/** Blocks of one upload to Azure under way at once unless configured, as upstream. */
export const AZURE_BLOCK_CONCURRENCY = 1;

/** Pause before the second repetition of a request to Azure (the first is at once), doubled up to the maximum below. */
export const AZURE_RETRY_DELAY_MS = 200;

/** Longest pause between two tries of one request to Azure. */
export const AZURE_RETRY_DELAY_MAX_MS = 2000;
