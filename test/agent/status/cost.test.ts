import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  MONTH_SECONDS,
  US_EAST_1_PRICES,
  monthlyCost,
  monthlyDemand,
  snapshotTraffic,
  type Usage,
} from '../../../agent/status/cost.ts';

const QUEUE: Usage = {
  agents: 10,
  databases: 1,
  objectsPerSecond: 0,
  notices: 'queue',
  listingIntervalMs: 300_000,
  compactionIntervalMs: 300_000,
  databaseBytes: 12e6,
};
const LISTING: Usage = {
  ...QUEUE,
  notices: 'listing',
  listingIntervalMs: 1000,
  compactionIntervalMs: undefined,
};
const MARKER: Usage = { ...LISTING, notices: 'marker' };

test('listing every second is 2.6 million requests a month per agent and database', () => {
  const { s3Lists } = monthlyDemand({ ...LISTING, agents: 1 });
  expect(s3Lists).toBe(MONTH_SECONDS);
  expect(monthlyDemand({ ...LISTING, agents: 3, databases: 2 }).s3Lists).toBe(6 * MONTH_SECONDS);
});

test('an idle agent with a queue polls 130,000 times a month, and lists as often as its safety interval says', () => {
  const one = monthlyDemand({ ...QUEUE, agents: 11, compactionIntervalMs: undefined });
  const ten = monthlyDemand({ ...QUEUE, agents: 10, compactionIntervalMs: undefined });
  expect(one.sqsRequests - ten.sqsRequests).toBeCloseTo(131_490, 3);
  expect(one.s3Lists - ten.s3Lists).toBeCloseTo(MONTH_SECONDS / 300, 3);
});

test('every object is put once, and got once by every other agent and by the compactor', () => {
  const busy = monthlyDemand({ ...QUEUE, objectsPerSecond: 1 });
  const idle = monthlyDemand(QUEUE);
  const objects = MONTH_SECONDS;
  const runs = MONTH_SECONDS / 300;
  expect(busy.s3Gets - idle.s3Gets).toBeCloseTo(objects * 9 + objects, 3);
  expect(busy.s3Puts).toBeCloseTo(objects + 2 * runs, 3);
});

test('what the fan-out costs does not grow with the fleet', () => {
  const fanOut = (agents: number) => {
    const { snsRequests, lambdaRequests, lambdaGbSeconds } = monthlyDemand({
      ...QUEUE,
      agents,
      objectsPerSecond: 1,
      compactionIntervalMs: undefined,
    });
    return { snsRequests, lambdaRequests, lambdaGbSeconds };
  };
  expect(fanOut(10_000)).toEqual(fanOut(2));
  expect(fanOut(2).snsRequests).toBe(MONTH_SECONDS);
});

test('a month is the sum of its parts at their prices', () => {
  const none = {
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
  expect(monthlyCost(none)).toBe(0);
  expect(monthlyCost({ ...none, s3Puts: 500, s3Lists: 500 })).toBeCloseTo(0.005);
  expect(monthlyCost({ ...none, sqsRequests: 1e6 })).toBeCloseTo(0.4);
  expect(monthlyCost({ ...none, metrics: 1, alarms: 1 })).toBeCloseTo(0.4);
  expect(monthlyCost({ ...none, storedGb: 1 }, { ...US_EAST_1_PRICES, storedGbMonth: 7 })).toBe(7);
});

test('no quantity is ever negative or not a number', () => {
  for (const notices of ['queue', 'listing', 'marker'] as const) {
    for (const agents of [0, 1, 1000]) {
      const demand = monthlyDemand({ ...QUEUE, notices, agents, objectsPerSecond: 100 });
      for (const value of Object.values(demand)) {
        expect(value).toBeGreaterThanOrEqual(0);
      }
    }
  }
});

const dollars = (usage: Usage): string => {
  const cost = monthlyCost(monthlyDemand(usage));
  return cost >= 100 ? Math.round(cost).toLocaleString('en') : cost.toFixed(2);
};

/** The rows of one table of docs/cost.md. */
function rows(vary: 'agents' | 'databases', objectsPerSecond: number): string[] {
  return [1, 10, 100, 1000].map((count) => {
    const change = { agents: 10, objectsPerSecond, [vary]: count };
    const [queue, listing, marker] = [QUEUE, LISTING, MARKER].map((one) =>
      dollars({ ...one, ...change }),
    );
    return `| ${count.toLocaleString('en')} | ${queue} | ${listing} | ${marker} |`;
  });
}

test.each([
  ['agents', 0],
  ['agents', 1],
  ['databases', 0],
  ['databases', 1],
] as const)('docs/cost.md has what the formula gives: %s at %d changes a second', (vary, rate) => {
  const text = readFileSync(resolve(__dirname, '../../../docs/cost.md'), 'utf8');
  expect(text).toContain(rows(vary, rate).join('\n'));
});

test('docs/cost.md has what the formula gives for ten thousand agents', () => {
  const text = readFileSync(resolve(__dirname, '../../../docs/cost.md'), 'utf8');
  const all = { agents: 10_000, databases: 1000 };
  const fleets: [string, Partial<Usage>][] = [
    ['10,000 agents, one database', { agents: 10_000 }],
    ['10 agents, 1,000 databases', { databases: 1000 }],
    ['10,000 agents with all of 1,000 databases', all],
    ['the same, `storage_safety_list_interval: 1h`', { ...all, listingIntervalMs: 3_600_000 }],
  ];
  const lines = fleets.map(([name, fleet]) => {
    const costs = [0, 1, 10].map((objectsPerSecond) =>
      dollars({ ...QUEUE, ...fleet, objectsPerSecond }),
    );
    return `| ${name} | ${costs.join(' | ')} |`;
  });
  expect(text).toContain(lines.join('\n'));
});

const FORCED = { forceSnapshotIntervalMs: 4 * 3_600_000 };
const UPSTREAM = { ...FORCED, upstreamSnapshotIntervalMs: 10_000 };

test('with a published base no full snapshot is due by time; without one it is', () => {
  expect(snapshotTraffic({ ...QUEUE, ...FORCED }).snapshots).toBe(0);
  const { snapshots, uploadedGb } = snapshotTraffic({ ...LISTING, ...FORCED });
  expect(snapshots).toBeCloseTo((10 * MONTH_SECONDS) / 14_400, 6);
  expect(uploadedGb).toBeCloseTo((snapshots * 12e6) / 1e9, 6);
  const { s3Puts } = monthlyDemand({ ...LISTING, ...FORCED });
  expect(s3Puts).toBeCloseTo(snapshots, 6);
});

test('for upstream readers every host stores one per interval while something changes, else per forced interval', () => {
  const idle = snapshotTraffic({ ...QUEUE, ...UPSTREAM });
  expect(idle.snapshots).toBeCloseTo((10 * MONTH_SECONDS) / 14_400, 6);
  const rare = snapshotTraffic({ ...QUEUE, ...UPSTREAM, objectsPerSecond: 0.01 });
  expect(rare.snapshots).toBeCloseTo(10 * MONTH_SECONDS * 0.01, 6);
  const busy = snapshotTraffic({ ...QUEUE, ...UPSTREAM, objectsPerSecond: 5 });
  expect(busy.snapshots).toBeCloseTo((10 * MONTH_SECONDS) / 10, 6);
});

test('docs/cost.md has what the formula gives for full snapshots', () => {
  const text = readFileSync(resolve(__dirname, '../../../docs/cost.md'), 'utf8');
  const fleets: [string, Partial<Usage>][] = [
    ['idle, with compaction', FORCED],
    ['idle, without compaction', { ...FORCED, compactionIntervalMs: undefined }],
    ['idle, `upstream_readers`', UPSTREAM],
    ['1 change in 100 s, `upstream_readers`', { ...UPSTREAM, objectsPerSecond: 0.01 }],
  ];
  const lines = fleets.map(([name, fleet]) => {
    const cells = [10, 100].map((agents) => {
      const usage = { ...QUEUE, ...fleet, agents };
      const { snapshots, uploadedGb } = snapshotTraffic(usage);
      const puts = snapshots * US_EAST_1_PRICES.s3PutOrList;
      return `${whole(snapshots)} | ${whole(uploadedGb)} GB | ${puts.toFixed(2)}`;
    });
    return `| ${name} | ${cells.join(' | ')} |`;
  });
  expect(text).toContain(lines.join('\n'));
});

function whole(count: number): string {
  return Math.round(count).toLocaleString('en');
}
