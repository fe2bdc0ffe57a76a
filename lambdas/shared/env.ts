/**
 * Names of the environment variables that the stack sets and the Lambdas read.
 * Each Lambda's own env.ts says what they hold.
 */

/** Environment variables of the compaction Lambda. */
export const COMPACTION_ENV = {
  bucket: 'BUCKET',
  objectPrefix: 'OBJECT_PREFIX',
  mustKeepSeconds: 'MUST_KEEP_SECONDS',
  tombstoneRetentionDays: 'TOMBSTONE_RETENTION_DAYS',
  upstreamReads: 'UPSTREAM_READS',
  spoolMib: 'SPOOL_MIB',
} as const;

/** Environment variables of the fan-out Lambda. */
export const FAN_OUT_ENV = {
  topicArn: 'NOTICE_TOPIC_ARN',
  objectPrefix: 'OBJECT_PREFIX',
} as const;

/** Environment variables of the queue sweeper. */
export const QUEUE_SWEEPER_ENV = {
  topicArn: 'NOTICE_TOPIC_ARN',
  queuePrefix: 'NOTICE_QUEUE_PREFIX',
  unreadDays: 'UNREAD_DAYS',
} as const;
