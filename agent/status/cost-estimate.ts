import type { StatusSource } from '../monitor/status.ts';
import { MONTH_SECONDS, monthlyCost, US_EAST_1_PRICES, type Demand } from './cost.ts';

/** What this agent's requests come to. */
export type CostEstimate = {
  /** US dollars a month, if it goes on as since the start. */
  readonly month: number;
  /** The same if the bucket were listed at every `storage_poll_interval` instead, without a queue. */
  readonly monthListing: number;
  /** Where and when the prices were published. */
  readonly prices: string;
};

export type CostInput = {
  /** Requests since the start by kind, as the status counts them. */
  readonly requests: ReadonlyMap<string, number>;
  readonly uptimeMs: number;
  readonly databases: number;
  readonly pollIntervalMs: number;
};

/** The start lists and merges what there is; extrapolated from less than this it says nothing about a month. */
const SHORTEST_UPTIME_MS = 10 * 60 * 1000;

const NOTHING: Demand = {
  s3Puts: 0,
  s3Lists: 0,
  s3Gets: 0,
  sqsRequests: 0,
  sqsFifoRequests: 0,
  snsRequests: 0,
  lambdaRequests: 0,
  lambdaGbSeconds: 0,
  storedGb: 0,
  metrics: 0,
  alarms: 0,
};

/**
 * The monthly bill for the requests of this agent at AWS's list prices, extrapolated from what it has done; undefined in the first
 * ten minutes. What the fleet shares (events, Lambdas, stored bytes) is in docs/cost.md.
 */
export function estimateCost(input: CostInput): CostEstimate | undefined {
  const { requests, uptimeMs, databases, pollIntervalMs } = input;
  if (uptimeMs < SHORTEST_UPTIME_MS) {
    return undefined;
  }
  const scale = (MONTH_SECONDS * 1000) / uptimeMs;
  const perMonth = (kind: string) => (requests.get(kind) ?? 0) * scale;
  const own: Demand = {
    ...NOTHING,
    s3Puts: perMonth('store') + perMonth('create-bucket'),
    s3Gets: perMonth('load'),
  };
  const sqs = [...requests.keys()].filter((kind) => kind.startsWith('sqs-'));
  return {
    month: monthlyCost({
      ...own,
      s3Lists: perMonth('list'),
      sqsRequests: sqs.reduce((sum, kind) => sum + perMonth(kind), 0),
    }),
    monthListing: monthlyCost({
      ...own,
      s3Lists: (databases * MONTH_SECONDS * 1000) / pollIntervalMs,
    }),
    prices: US_EAST_1_PRICES.asOf,
  };
}

/** What the requests come to in a month; undefined: the storage costs nothing, or it is too early to say. */
export function findCost(
  source: StatusSource,
  nowMs: number,
): (CostEstimate & { readonly pollIntervalMs: number }) | undefined {
  const { billedPollIntervalMs: pollIntervalMs, startedMs } = source;
  if (pollIntervalMs === undefined) {
    return undefined;
  }
  const estimate = estimateCost({
    requests: source.requests(),
    uptimeMs: nowMs - startedMs,
    databases: source.databases().length,
    pollIntervalMs,
  });
  return estimate && { ...estimate, pollIntervalMs };
}
