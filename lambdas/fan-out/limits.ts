/** Entries in one SendMessageBatch request. Source: SQS quotas. */
export const BATCH_ENTRIES = 10;

/** Bytes of all bodies in one SendMessageBatch request: one request is billed per 64 KiB. Source: SQS pricing. */
export const BATCH_BYTES = 64 * 1024;

/** SQS requests under way at once: 200 queues then take 8 round trips, less than the Lambda's processor needs for them. */
export const SEND_CONCURRENCY = 25;

/** How long the list of queues is used: a new agent waits so long for its first notice, and lists at start anyway. */
export const QUEUE_CACHE_MS = 60_000;

/** Agents' queues at most: a list of 1,000 is one request. Beyond, a topic with filters is the better tool. */
export const QUEUES_MAX = 10_000;
