/** Notices in one PublishBatch request. With the longest names they are 23 KiB; 64 KiB are billed as one. Source: SNS quotas. */
export const BATCH_ENTRIES = 10;

/** SNS requests under way at once. A run has ten messages, seldom with more than one event each. */
export const PUBLISH_CONCURRENCY = 10;
