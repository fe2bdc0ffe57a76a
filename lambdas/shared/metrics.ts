/** CloudWatch namespace of all metrics of the Lambdas. */
export const METRICS_NAMESPACE = 'LightningStream';

/** Dimension that powertools adds to every metric: the Lambda's service name. */
export const SERVICE_DIMENSION = 'service';

/** Service names: values of {@link SERVICE_DIMENSION}. */
export const SERVICES = {
  fanOut: 'fan-out',
  compaction: 'compaction',
  queueSweeper: 'queue-sweeper',
} as const;

/** Metrics of the Lambdas. Alarms and the dashboard use the same names. */
export const METRICS = {
  /** Records of the ingest queue that are no notice and were dropped. */
  droppedRecords: 'DroppedRecords',
  /** Notices published on the topic. */
  publishedNotices: 'PublishedNotices',
  /** SNS requests for that. */
  publishRequests: 'PublishRequests',
  /** Milliseconds from S3's event to the end of the fan-out. */
  fanOutDelay: 'FanOutDelay',
  /** Seconds for which the oldest object has been waiting to be folded, per database. */
  compactionLag: 'CompactionLag',
  foldedObjects: 'FoldedObjects',
  deletedObjects: 'DeletedObjects',
  /** Objects that could not be read. */
  unreadableObjects: 'UnreadableObjects',
  /** Objects that came back after tombstones were dropped. */
  setAsideObjects: 'SetAsideObjects',
  /** 1: a published object was missing or damaged. */
  lostBases: 'LostBases',
  /** Runs that failed and will be repeated by the schedule. */
  failedRuns: 'FailedRuns',
  storedEntries: 'StoredEntries',
} as const;

/** Dimension of the compaction's metrics. */
export const DATABASE_DIMENSION = 'database';
