import { MONTH_SECONDS, monthlyDemand } from '../../../agent/status/cost.ts';
import { realClock } from '../time/real-clock.ts';
import { SeededRandom } from '../../support/random.ts';
import { ScaleFleet, type ScaleHost, type ScaleTimes } from './fleet.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** Reckoned, not measured: AWS in one region, with agents on hosts in it. */
const TIMES: ScaleTimes = {
  eventMs: [100, 1000],
  requestMs: [5, 20],
  invokeMs: [10, 60],
  deliveryMs: [10, 60],
  s3HalfMs: 15,
  lmdbHalfMs: 0.5,
  watchMs: 5,
};

/** What a fleet does. */
export type ScaleLoad = {
  readonly what: string;
  readonly agents: number;
  /** Entries that are there at the begin. */
  readonly entries: number;
  readonly hours: number;
  /** Commits of all hosts together, on the average of the time. */
  readonly changesPerHour: number;
  /** How much more happens at noon than on the average: 0 = always the same, 1 = twice as much, and nothing at midnight. */
  readonly dayWave: number;
  /** Restarts of each agent in the time. */
  readonly restarts: number;
};

/** 200 hosts of one database, a change every two seconds. */
export function fleetLoad(agents: number): ScaleLoad {
  const changesPerHour = 1800;
  return {
    what: 'fleet',
    agents,
    entries: 1000,
    hours: 0.25,
    changesPerHour,
    dayWave: 0,
    restarts: 0,
  };
}

/** A day of ten hosts: 5,000 changes, most of them by day, and every agent is restarted once. */
export const DAY_LOAD: ScaleLoad = {
  what: 'day',
  agents: 10,
  entries: 1000,
  hours: 24,
  changesPerHour: 5000 / 24,
  dayWave: 0.9,
  restarts: 1,
};

/** What is written to bench/results/*.json. */
export type ScaleReport = {
  readonly what: string;
  readonly seed: number;
  readonly load: ScaleLoad;
  readonly timesMs: ScaleTimes;
  readonly safetyListMs: number;
  readonly compactionMs: number;
  readonly virtualSeconds: number;
  readonly commits: number;
  readonly objects: number;
  /** From a commit to its merge at another host, one sample per commit and host. */
  readonly lagMs: {
    readonly samples: number;
    readonly p50: number;
    readonly p90: number;
    readonly p99: number;
    readonly max: number;
  };
  /** Counted, by kind. */
  readonly requests: Readonly<Record<string, number>>;
  /** Of the same kinds, what agent/status/cost.ts reckons with for the same time. */
  readonly reckoned: Readonly<Record<string, number>>;
  readonly requestsPerCommit: Readonly<Record<string, number>>;
  readonly uploadedBytes: number;
  readonly downloadedBytes: number;
  readonly compactions: number;
};

const SAFETY_LIST_MS = 5 * MINUTE;
const COMPACTION_MS = 5 * MINUTE;
const CONVERGE_MS = 10 * MINUTE;
/** Starts are spread over this. */
const START_MS = 2 * MINUTE;

/** Runs one load in virtual time. Throws where the hosts do not become equal. */
export async function runScale(load: ScaleLoad, seed = 1): Promise<ScaleReport> {
  const random = new SeededRandom(seed);
  const fleet = new ScaleFleet(random.fork(), {
    agents: load.agents,
    safetyListMs: SAFETY_LIST_MS,
    compactionMs: COMPACTION_MS,
    times: TIMES,
  });
  const clock = realClock();
  try {
    clock.freeze(() => fleet.scheduler.nowMs);
    await begin(fleet, load, random.fork());
    fleet.beginMeasuring();
    const fromMs = fleet.scheduler.nowMs;
    const objectsBefore = fleet.ledger.objects.size;
    const commits = await play(fleet, load, random.fork());
    const virtualSeconds = (fleet.scheduler.nowMs - fromMs) / SECOND;
    // Read before the rest comes in: these are the requests of exactly this time.
    const counted = counts(fleet);
    const objects = fleet.ledger.objects.size - objectsBefore;
    const { uploadedBytes, downloadedBytes } = fleet.agentTraffic;
    const { compactions } = fleet;
    await fleet.converge(CONVERGE_MS);
    return {
      what: load.what,
      seed,
      load,
      timesMs: TIMES,
      safetyListMs: SAFETY_LIST_MS,
      compactionMs: COMPACTION_MS,
      virtualSeconds: Math.round(virtualSeconds),
      commits,
      objects,
      lagMs: distribution(fleet.lagsMs),
      requests: counted,
      reckoned: reckon({ agents: load.agents, objects, seconds: virtualSeconds }),
      requestsPerCommit: perCommit(counted, commits),
      uploadedBytes,
      downloadedBytes,
      compactions,
    };
  } finally {
    clock.restore();
    await fleet.dispose();
  }
}

/** The first host fills its database; the others come to it. */
async function begin(fleet: ScaleFleet, load: ScaleLoad, random: SeededRandom): Promise<void> {
  const [first, ...others] = fleet.hosts;
  if (first === undefined) {
    return;
  }
  const values = new Map<string, string>();
  for (let at = 0; at < load.entries; at += 1) {
    values.set(keyOf(at), 'at the begin');
  }
  fleet.start(first);
  fleet.commit(first, values);
  await fleet.scheduler.run(START_MS);
  for (const host of others) {
    fleet.scheduler.after(START_MS * random.next(), () => fleet.start(host));
  }
  await fleet.scheduler.run(START_MS);
  await fleet.converge(CONVERGE_MS);
}

async function play(fleet: ScaleFleet, load: ScaleLoad, random: SeededRandom): Promise<number> {
  const { scheduler, hosts } = fleet;
  const lastMs = load.hours * HOUR;
  const fromMs = scheduler.nowMs;
  const restarts = hosts
    .flatMap((host) => Array.from({ length: load.restarts }, () => host))
    .map((host) => ({ host, atMs: fromMs + lastMs * random.next() }))
    .toSorted((a, b) => a.atMs - b.atMs);
  const most = (load.changesPerHour * (1 + load.dayWave)) / HOUR;
  let commits = 0;
  for (;;) {
    const nextMs = scheduler.nowMs - Math.log(1 - random.next()) / most;
    while (restarts[0] !== undefined && restarts[0].atMs < nextMs) {
      const { host, atMs } = restarts.shift() as { host: ScaleHost; atMs: number };
      await scheduler.run(Math.max(0, atMs - scheduler.nowMs));
      await fleet.stop(host);
      fleet.start(host);
    }
    if (nextMs >= fromMs + lastMs) {
      break;
    }
    await scheduler.run(Math.max(0, nextMs - scheduler.nowMs));
    // Thinned: as much happens as there should at this time of the day.
    const wave = 1 - load.dayWave * Math.cos((2 * Math.PI * (nextMs - fromMs)) / (24 * HOUR));
    if (!random.chance(wave / (1 + load.dayWave))) {
      continue;
    }
    commits += 1;
    fleet.commit(random.pick(hosts), values(random, { load, commits }));
  }
  await scheduler.run(fromMs + lastMs - scheduler.nowMs);
  return commits;
}

/** Mostly one record; now and then a zone of some, or a deletion. */
function values(
  random: SeededRandom,
  { load, commits }: { load: ScaleLoad; commits: number },
): Map<string, string | undefined> {
  const count = random.pick([1, 1, 1, 1, 1, 2, 3, 10]);
  const deletes = random.chance(0.1);
  const chosen = new Map<string, string | undefined>();
  for (let at = 0; at < count; at += 1) {
    const key = keyOf(random.below(load.entries));
    chosen.set(key, deletes ? undefined : `content of change ${commits}`);
  }
  return chosen;
}

function keyOf(at: number): string {
  return `records/name-${String(at).padStart(7, '0')}`;
}

function counts({ agentTraffic, compactorTraffic, queues }: ScaleFleet): Record<string, number> {
  const [agents, compactor] = [agentTraffic.s3, compactorTraffic.s3];
  const { requests } = queues;
  return {
    s3Put: agents.create + agents.put + agents.putIfUnchanged,
    s3Get: agents.get,
    s3List: agents.list,
    s3Delete: agents.delete,
    sqsReceive: requests.agentReceives,
    sqsDelete: requests.agentDeletes,
    sqsEvents: requests.eventMessages,
    sqsLambdaPolls: requests.lambdaPolls,
    sqsLambdaDeletes: requests.lambdaDeletes,
    snsPublishes: requests.publishes,
    topicDeliveries: requests.deliveries,
    lambdaRuns: requests.lambdaRuns,
    compactorPut: compactor.create + compactor.put + compactor.putIfUnchanged,
    compactorGet: compactor.get,
    compactorList: compactor.list,
    compactorDelete: compactor.delete,
  };
}

/** What `agent/status/cost.ts` says of the same fleet in the same time; its sums, not its single kinds, are public. */
function reckon(parts: {
  agents: number;
  objects: number;
  seconds: number;
}): Record<string, number> {
  const { agents, objects, seconds } = parts;
  const demand = monthlyDemand({
    agents,
    databases: 1,
    objectsPerSecond: objects / seconds,
    notices: 'queue',
    listingIntervalMs: SAFETY_LIST_MS,
    compactionIntervalMs: COMPACTION_MS,
    databaseBytes: 0,
  });
  const of = (monthly: number) => Math.round((monthly * seconds) / MONTH_SECONDS);
  return {
    s3PutsAll: of(demand.s3Puts),
    s3ListsAll: of(demand.s3Lists),
    s3GetsAll: of(demand.s3Gets),
    sqsAll: of(demand.sqsRequests),
    snsAll: of(demand.snsRequests),
  };
}

function perCommit(counted: Record<string, number>, commits: number): Record<string, number> {
  return Object.fromEntries(
    Object.entries(counted).map(([kind, count]) => [kind, round(count / Math.max(commits, 1))]),
  );
}

function distribution(lags: readonly number[]): ScaleReport['lagMs'] {
  const sorted = Float64Array.from(lags).toSorted();
  const at = (part: number) =>
    round(sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0);
  return { samples: sorted.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
