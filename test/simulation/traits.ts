import type { CompactionPolicy } from '../../compaction/policy.ts';
import type { SeededRandom } from '../support/random.ts';
import type { Schema } from './sim-database.ts';
import type { Network } from './sim-store.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/**
 * The pace of a schedule. "dense": something happens while everything else is still under way; "long": hosts are away
 * for longer than tombstones are kept, and in between everything comes to rest.
 */
type Pace = 'dense' | 'long';

/** Who drops tombstones, and after how long. */
type Retention = {
  readonly agentsMs: number;
  /** Indexes of hosts whose agents sweep. */
  readonly sweepers: readonly number[];
  /** undefined: compactors drop none. */
  readonly compactorMs: number | undefined;
};

/** What one schedule plays with. */
export type Traits = {
  readonly pace: Pace;
  readonly instances: readonly string[];
  readonly receiveOnly: readonly number[];
  readonly databases: readonly { readonly name: string; readonly schema: Schema }[];
  readonly keys: readonly string[];
  readonly steps: number;
  /** Mean time between two things that happen. */
  readonly gapMs: number;
  readonly network: Network;
  readonly databaseMs: number;
  readonly databaseFaultRate: number;
  readonly damages: boolean;
  /** Clocks are wrong by up to this. */
  readonly skewMs: number;
  readonly listingMs: number;
  /** Part of the notices that get lost, and how late the others are at most. */
  readonly noticeLoss: number;
  readonly noticeMs: number;
  /** Of the agents' cleaners; undefined: they have none. */
  readonly cleaner:
    | {
        readonly mustKeepMs: number;
        readonly intervalMs: number;
        readonly removeOldInstancesMs: number;
      }
    | undefined;
  readonly retention: Retention | undefined;
  readonly maxDeltas: number;
  /** A full snapshot is due by time alone, 0: never. */
  readonly forceSnapshotMs: number;
  readonly uploadMinIntervalMs: number;
  readonly persistIntervalMs: number;
  readonly pendingBytesMax: number;
  readonly spoolMemoryBytes: number;
  readonly downloadConcurrency: number;
  /** How many objects one database holds at a time, from before the fetch until they are merged. */
  readonly downloadPlaces: number;
  readonly shutdownTimeoutMs: number;
  readonly maxLockHoldMs: number;
  /** How often an application commits at the last moment before its agent wins the write lock. */
  readonly lockCommitRate: number;
  readonly upstream: boolean;
  readonly growsMaps: boolean;
  readonly exchangesBucket: boolean;
  /** Applications raise PowerDNS's schema version; other hosts hold it back until they are as far, or may take it. */
  readonly upgrades: boolean;
  readonly compactors: number;
  readonly compaction: Partial<CompactionPolicy> & {
    readonly deadlineMs: number | undefined;
    /** Of the compactors' temporary files. */
    readonly roomBytes: number;
  };
};

/** The nature of one schedule. */
export function drawTraits(random: SeededRandom): Traits {
  const pace: Pace = random.chance(0.3) ? 'long' : 'dense';
  const retentionMs = random.pick([4 * HOUR, 8 * HOUR]);
  const fleet = random.weighted({ two: 3, three: 4, sharedName: 3, four: 1 });
  const instances = {
    two: ['a', 'b'],
    three: ['a', 'b', 'c'],
    sharedName: ['a', 'a', 'b'],
    four: ['a', 'b', 'c', 'd'],
  }[fleet];
  const hosts = instances.map((_, index) => index);
  const retention = pace === 'long' ? drawRetention(random, retentionMs, hosts) : undefined;
  const upstream = retention === undefined && random.chance(0.2);
  const schema = (): Schema => (random.chance(0.25) ? 'shadow' : 'native');
  const keyCount = random.pick([2, 5, 40]);
  const steps = 20 + random.below(pace === 'long' ? 120 : 90);
  return {
    pace,
    instances,
    receiveOnly: hosts.length > 2 && random.chance(0.2) ? [hosts.length - 1] : [],
    databases: [
      { name: 'main', schema: schema() },
      ...(random.chance(0.2) ? [{ name: 'main-2', schema: schema() }] : []),
    ],
    keys: Array.from({ length: keyCount }, (_, i) => `${i % 3 === 2 ? 'names' : 'zones'}/k${i}`),
    steps,
    gapMs: pace === 'long' ? retentionMs / random.pick([4, 10, 30]) : random.pick([5, 50, 1000]),
    network: {
      faultRate: random.pick([0, 0.1, 0.3]),
      halfMs: random.pick([1, 20]),
      slowMs: pace === 'long' ? 5 * MINUTE : random.pick([200, 10 * SECOND]),
      lateMs: pace === 'long' ? retentionMs / 8 : random.pick([SECOND, 5 * MINUTE]),
      hurtRate: random.pick([0, 0, 0.1, 0.3]),
    },
    databaseMs: random.pick([0.5, 20]),
    databaseFaultRate: random.pick([0, 0, 0.05, 0.2]),
    damages: random.chance(0.4),
    skewMs: pace === 'long' ? random.pick([0, MINUTE]) : random.pick([0, 50, 5 * SECOND]),
    listingMs: pace === 'long' ? 15 * MINUTE : random.pick([2 * SECOND, MINUTE]),
    noticeLoss: random.pick([0, 0.1, 1]),
    noticeMs: random.pick([20, 5 * SECOND]),
    cleaner: drawCleaner(random, pace),
    retention,
    maxDeltas: random.pick([2, 5, 1000]),
    uploadMinIntervalMs: random.pick([0, 0, SECOND]),
    persistIntervalMs: pace === 'long' ? 5 * MINUTE : random.pick([200, SECOND, HOUR]),
    pendingBytesMax: random.pick([40, 1 << 20, 1 << 20]),
    spoolMemoryBytes: random.pick([100, 1 << 20, 1 << 20]),
    downloadConcurrency: random.pick([1, 4]),
    downloadPlaces: random.pick([1, 2, 4]),
    shutdownTimeoutMs: random.pick([1, 10, 30 * SECOND]),
    maxLockHoldMs: random.pick([250, 250, 0]),
    lockCommitRate: random.pick([0, 0, 0.5, 0.95]),
    upstream,
    growsMaps: random.chance(0.15),
    exchangesBucket: retention === undefined && !upstream && random.chance(0.1),
    // By what is drawn already, as the next.
    forceSnapshotMs: steps % 3 === 0 ? (pace === 'long' ? HOUR : 2 * SECOND) : 0,
    // By what is drawn already: the schedules of the seeds that are kept stay what they are.
    upgrades: steps % 4 === 0,
    compactors: random.pick([0, 1, 1, 2]),
    compaction: {
      smallBaseBytes: random.pick([0, 1 << 20]),
      baseDueRatio: random.pick([0, 1, 1000]),
      level1CountMax: random.pick([1, 8]),
      baseMaxAgeMs: pace === 'long' ? HOUR : random.pick([10 * SECOND, HOUR]),
      mustKeepMs: random.pick([0, pace === 'long' ? 10 * MINUTE : 2 * SECOND]),
      foldObjectsMax: random.pick([2, 10_000]),
      tombstoneRetentionMs: retention?.compactorMs,
      deadlineMs: random.pick([undefined, undefined, 100, 2 * SECOND]),
      // As with upgrades. A base of many entries finds no room in the smaller one.
      roomBytes: steps % 5 === 0 ? 700 : Number.POSITIVE_INFINITY,
    },
  };
}

function drawRetention(
  random: SeededRandom,
  retentionMs: number,
  hosts: readonly number[],
): Retention | undefined {
  const who = random.weighted({ nobody: 1, all: 3, agents: 2, some: 2, compactor: 3 });
  if (who === 'nobody') {
    return undefined;
  }
  const sweepers = {
    all: hosts,
    agents: hosts,
    some: hosts.filter((index) => index === 0 || random.chance(0.3)),
    compactor: [],
  }[who];
  const compactorMs =
    who === 'agents' ? undefined : who === 'some' && random.chance(0.5) ? undefined : retentionMs;
  return { agentsMs: retentionMs * random.pick([1, 1, 2]), sweepers, compactorMs };
}

function drawCleaner(random: SeededRandom, pace: Pace): Traits['cleaner'] {
  const long = pace === 'long';
  if (random.chance(0.5)) {
    return undefined;
  }
  return {
    mustKeepMs: random.pick([0, long ? 10 * MINUTE : 50]),
    intervalMs: long ? 20 * MINUTE : random.pick([SECOND, 10 * SECOND]),
    removeOldInstancesMs: long ? HOUR : random.pick([200, MINUTE]),
  };
}

/** The shortest retention of anybody who drops tombstones. */
export function shortestRetentionMs({ retention }: Traits): number | undefined {
  if (retention === undefined) {
    return undefined;
  }
  const all = [
    ...(retention.sweepers.length > 0 ? [retention.agentsMs] : []),
    ...(retention.compactorMs === undefined ? [] : [retention.compactorMs]),
  ];
  return all.length === 0 ? undefined : Math.min(...all);
}
