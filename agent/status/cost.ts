/**
 * What a fleet asks of AWS in a month, and what that costs: plain arithmetic, for the status page and docs/cost.md. Traffic inside
 * one region is free; the free tier is left out, since an account has it once.
 */

/** How agents learn of others' objects. */
type Announcement =
  /** Long polls on a queue, and a slow listing. */
  | 'queue'
  /** A listing every interval: what upstream does, and what agents do without a queue. */
  | 'listing'
  /** Upstream's update marker: one small GET every interval, a listing when it has changed. */
  | 'marker';

/** A fleet and what it does. Rates are averages per second. */
export type Usage = {
  readonly agents: number;
  readonly databases: number;
  /** Objects that all agents together upload per second. */
  readonly objectsPerSecond: number;
  readonly notices: Announcement;
  /** Milliseconds between two listings of a database: the polling interval, or the safety interval beside a queue. */
  readonly listingIntervalMs: number;
  /** Milliseconds between two compactions of a database; undefined: none runs. */
  readonly compactionIntervalMs?: number | undefined;
  /** Compressed bytes of one database. */
  readonly databaseBytes: number;
  /** Milliseconds of `storage_force_snapshot_interval`; undefined: what it makes due is left out. */
  readonly forceSnapshotIntervalMs?: number | undefined;
  /** Where upstream reads the bucket, milliseconds of `upstream_snapshot_min_interval`. */
  readonly upstreamSnapshotIntervalMs?: number | undefined;
};

/** Requests and other things that are billed, per month. */
export type Demand = {
  /** PUT, COPY, POST and LIST: one price. */
  readonly s3Puts: number;
  readonly s3Lists: number;
  readonly s3Gets: number;
  readonly sqsRequests: number;
  readonly sqsFifoRequests: number;
  /** Publications on the topic; what it delivers to queues is free. */
  readonly snsRequests: number;
  readonly lambdaRequests: number;
  readonly lambdaGbSeconds: number;
  readonly storedGb: number;
  readonly metrics: number;
  readonly alarms: number;
};

/** What full snapshots move in a month. */
export type SnapshotTraffic = {
  readonly snapshots: number;
  /** Agents of ours that are in step fetch none of it. */
  readonly uploadedGb: number;
};

/** US dollars. */
export type Prices = {
  /** Where and when they were published. */
  readonly asOf: string;
  readonly s3PutOrList: number;
  readonly s3Get: number;
  readonly sqs: number;
  readonly sqsFifo: number;
  readonly sns: number;
  readonly lambdaRequest: number;
  /** arm64. */
  readonly lambdaGbSecond: number;
  readonly storedGbMonth: number;
  readonly metricMonth: number;
  readonly alarmMonth: number;
};

/** List prices of us-east-1. Other regions differ by up to a third. */
export const US_EAST_1_PRICES: Prices = {
  asOf: 'us-east-1, November 2025',
  s3PutOrList: 0.005 / 1000,
  s3Get: 0.0004 / 1000,
  sqs: 0.4 / 1e6,
  sqsFifo: 0.5 / 1e6,
  sns: 0.5 / 1e6,
  lambdaRequest: 0.2 / 1e6,
  lambdaGbSecond: 0.000_013_333_4,
  storedGbMonth: 0.023,
  metricMonth: 0.3,
  alarmMonth: 0.1,
};

/** Seconds in an average month: 365.25 days by 12. */
export const MONTH_SECONDS = 2_629_800;

/** The longest that SQS lets a receive wait. */
const LONG_POLL_SECONDS = 20;
/** Lambda waits on each queue with five long polls at once, whether anything comes or not. Source: AWS Lambda, "Using Lambda with Amazon SQS". */
const LAMBDA_POLLERS = 5;
/** Notices in one request at most. */
const BATCH = 10;
/** Of the deployed stack. */
const FAN_OUT_GB = 0.25;
const COMPACTION_GB = 1;
/** Seconds of the fan-out per run: some milliseconds of a seventh of a processor, and one request to the topic. */
const FAN_OUT_SECONDS = 0.03;
/** Seconds of a compaction without work, and per object folded (16 downloads of 20 ms at once). */
const COMPACTION_SECONDS = 0.3;
const COMPACTION_SECONDS_PER_OBJECT = 0.02 / 16;
/** Names per LIST request. */
const LIST_PAGE = 1000;
const FIXED_METRICS = 4;
const METRICS_PER_DATABASE = 6;
const FIXED_ALARMS = 10;
const ALARMS_PER_DATABASE = 3;

/** What a fleet asks for in a month. */
export function monthlyDemand(usage: Usage): Demand {
  const { agents, databases, objectsPerSecond, databaseBytes } = usage;
  const objects = objectsPerSecond * MONTH_SECONDS;
  const readers = Math.max(agents - 1, 0);
  const compaction = compactionDemand(usage);
  const reading = usage.notices === 'queue' ? queueDemand(usage) : listingDemand(usage);
  return {
    s3Puts: objects + fullSnapshots(usage) + compaction.s3Puts + reading.s3Puts,
    s3Lists: reading.s3Lists + compaction.s3Lists,
    s3Gets: objects * readers + compaction.s3Gets + reading.s3Gets,
    sqsRequests: reading.sqsRequests,
    sqsFifoRequests: compaction.sqsFifoRequests,
    snsRequests: reading.snsRequests,
    lambdaRequests: reading.lambdaRequests + compaction.lambdaRequests,
    lambdaGbSeconds: reading.lambdaGbSeconds + compaction.lambdaGbSeconds,
    // Without compaction every agent keeps a full snapshot; with it there is one base, and the one before it for a while.
    storedGb: (databaseBytes * databases * (compaction.runs > 0 ? 2 : agents)) / 1e9,
    metrics: reading.metrics + compaction.metrics,
    alarms: reading.alarms + compaction.alarms,
  };
}

/** Full snapshots that time or upstream readers make due; changes go as deltas, which are not counted here. */
export function snapshotTraffic(usage: Usage): SnapshotTraffic {
  const snapshots = fullSnapshots(usage);
  const uploadedGb = (snapshots * usage.databaseBytes) / 1e9;
  return { snapshots, uploadedGb };
}

/**
 * Per month, of all agents. None while a published base holds everything. Where upstream reads the bucket every host
 * stores its own after each change, its own or a merged one, but not more often than the interval says.
 */
function fullSnapshots(usage: Usage): number {
  const { agents, databases, objectsPerSecond, compactionIntervalMs } = usage;
  const { forceSnapshotIntervalMs: forced, upstreamSnapshotIntervalMs: upstream } = usage;
  const byTime = forced === undefined ? 0 : 1000 / forced;
  const byChange =
    upstream === undefined ? 0 : Math.min(1000 / upstream, objectsPerSecond / databases);
  const hasBase = compactionIntervalMs !== undefined && upstream === undefined;
  return hasBase ? 0 : agents * databases * MONTH_SECONDS * Math.max(byTime, byChange);
}

/** What it costs per month, US dollars. */
export function monthlyCost(demand: Demand, prices: Prices = US_EAST_1_PRICES): number {
  return (
    (demand.s3Puts + demand.s3Lists) * prices.s3PutOrList +
    demand.s3Gets * prices.s3Get +
    demand.sqsRequests * prices.sqs +
    demand.sqsFifoRequests * prices.sqsFifo +
    demand.snsRequests * prices.sns +
    demand.lambdaRequests * prices.lambdaRequest +
    demand.lambdaGbSeconds * prices.lambdaGbSecond +
    demand.storedGb * prices.storedGbMonth +
    demand.metrics * prices.metricMonth +
    demand.alarms * prices.alarmMonth
  );
}

type Part = Omit<Demand, 'storedGb' | 'sqsFifoRequests'>;
const NOTHING: Part = {
  s3Puts: 0,
  s3Lists: 0,
  s3Gets: 0,
  sqsRequests: 0,
  snsRequests: 0,
  lambdaRequests: 0,
  lambdaGbSeconds: 0,
  metrics: 0,
  alarms: 0,
};

/** One queue per agent, whatever number of databases it has. */
function queueDemand(usage: Usage): Part {
  const { agents, databases, objectsPerSecond, listingIntervalMs } = usage;
  const readers = Math.max(agents - 1, 0);
  const notices = objectsPerSecond * readers;
  // A poll ends with the first notice: there is one per notice, and never fewer than one every 20 seconds.
  const polls = agents * Math.max(1 / LONG_POLL_SECONDS, notices / Math.max(agents, 1));
  // Under load Lambda's polls bring up to ten events each; up to ten objects a second there is about one event per run.
  const runs = Math.min(objectsPerSecond, Math.max(BATCH, objectsPerSecond / BATCH));
  const lambdaPolls = Math.max(LAMBDA_POLLERS / LONG_POLL_SECONDS, runs);
  // S3's own message, Lambda's deletion; each reader's polls and deletions.
  const sqs = objectsPerSecond + runs + lambdaPolls + polls + notices;
  return {
    ...NOTHING,
    s3Lists: (agents * databases * MONTH_SECONDS) / (listingIntervalMs / 1000),
    s3Gets: (agents * databases * MONTH_SECONDS) / (listingIntervalMs / 1000),
    sqsRequests: sqs * MONTH_SECONDS,
    snsRequests: runs * MONTH_SECONDS,
    lambdaRequests: runs * MONTH_SECONDS,
    lambdaGbSeconds: runs * FAN_OUT_SECONDS * FAN_OUT_GB * MONTH_SECONDS,
    metrics: FIXED_METRICS,
    alarms: FIXED_ALARMS,
  };
}

function listingDemand(usage: Usage): Part {
  const { agents, databases, objectsPerSecond, listingIntervalMs, notices } = usage;
  const looks = agents * databases * (MONTH_SECONDS / (listingIntervalMs / 1000));
  if (notices === 'listing') {
    return { ...NOTHING, s3Lists: looks };
  }
  // Every look is a GET of the marker; every object changes it, which costs its writer a PUT and every agent a listing at its next look.
  const changed = Math.min(1, (objectsPerSecond / databases) * (listingIntervalMs / 1000));
  return {
    ...NOTHING,
    s3Puts: objectsPerSecond * MONTH_SECONDS,
    s3Gets: looks,
    s3Lists: looks * changed,
  };
}

type CompactionPart = Part & { readonly sqsFifoRequests: number; readonly runs: number };

function compactionDemand(usage: Usage): CompactionPart {
  const { databases, objectsPerSecond, compactionIntervalMs } = usage;
  if (compactionIntervalMs === undefined) {
    return { ...NOTHING, sqsFifoRequests: 0, runs: 0 };
  }
  const intervalSeconds = compactionIntervalMs / 1000;
  const runs = (databases * MONTH_SECONDS) / intervalSeconds;
  const objects = objectsPerSecond * MONTH_SECONDS;
  const perRun = objects / runs;
  const busy = Math.min(1, perRun);
  // Twice: what is folded stays until must_keep has passed.
  const pages = Math.max(1, Math.ceil((2 * perRun) / LIST_PAGE));
  const seconds = runs * COMPACTION_SECONDS + objects * COMPACTION_SECONDS_PER_OBJECT;
  return {
    ...NOTHING,
    s3Lists: runs * pages,
    s3Gets: runs + objects,
    // A level-1 delta and the manifest.
    s3Puts: runs * busy * 2,
    sqsFifoRequests: 3 * runs + (LAMBDA_POLLERS / LONG_POLL_SECONDS) * MONTH_SECONDS,
    lambdaRequests: runs,
    lambdaGbSeconds: seconds * COMPACTION_GB,
    metrics: METRICS_PER_DATABASE * databases,
    alarms: ALARMS_PER_DATABASE * databases,
    runs,
  };
}
