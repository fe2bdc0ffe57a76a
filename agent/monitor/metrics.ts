import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry, Summary } from 'prom-client';
import type { RequestReport } from '../../storage/requests.ts';
import { LimitMetrics } from './limit-metrics.ts';
import { HookMetrics } from './hook-metrics.ts';
import { NoticeMetrics } from './notice-metrics.ts';
import { createScrapedMetrics } from './scraped-metrics.ts';
import type { SmapsReader } from './smaps.ts';
import type { DatabaseStatus, StatusSource } from './status.ts';

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Upstream's buckets for the age of an object when it is first seen: seconds to 30 days. */
const AGE_BUCKETS = [
  0.1,
  0.2,
  0.5,
  1,
  2,
  5,
  10,
  30,
  ...[1, 2, 5, 10, 30].map((minutes) => minutes * MINUTE),
  ...[1, 2, 6, 12].map((hours) => hours * HOUR),
  ...[1, 3, 7, 14, 30].map((days) => days * DAY),
];
const CALL_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60];
const LOCK_BUCKETS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5];
const LATENCY_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export type MetricsOptions = {
  readonly status: StatusSource;
  /** Names the storage metrics: `storage_s3_call_total`. */
  readonly storageType: string;
  /** Reads memory map figures at a scrape; undefined: they are left out. */
  readonly smaps?: SmapsReader | undefined;
  /** False in tests: the process metrics start observers that outlive a registry. */
  readonly processMetrics?: boolean | undefined;
};

/**
 * All metrics of the agent in one registry: upstream's names with upstream's labels, and ours.
 * What a database holds is read at scrape time from the last status, never from LMDB.
 *
 * Source: PowerDNS/lightningstream, `syncer/metrics.go` and the `metrics.go` of receiver, cleaner, sweeper and
 * `utils/climit`; `lmdbenv/stats/collector.go`.
 */
export class Metrics {
  readonly registry = new Registry();
  readonly syncer: SyncerMetrics;
  readonly notices: NoticeMetrics;
  readonly hooks: HookMetrics;
  readonly limits: LimitMetrics;
  readonly #storage: StorageMetrics;
  readonly #scrapes: ScrapeMetrics;
  readonly #status: StatusSource;
  #databases: readonly DatabaseStatus[] = [];

  constructor(options: MetricsOptions) {
    this.syncer = createSyncerMetrics(this.registry);
    this.notices = new NoticeMetrics(this.registry);
    this.hooks = new HookMetrics(this.registry);
    this.limits = new LimitMetrics(this.registry, () => performance.now());
    this.#scrapes = createScrapeMetrics(this.registry);
    this.#storage = createStorageMetrics(this.registry, options.storageType);
    this.#status = options.status;
    createScrapedMetrics(this.registry, {
      databases: () => this.#databases,
      notices: () => this.#status.notices(),
      smaps: options.smaps,
    });
    if (options.processMetrics !== false) {
      // The delay of the event loop is sampled at this distance in ms; the default of 10 cost 1 % of a core, idle.
      collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: 1000 });
    }
  }

  /** Counts one request to the storage. */
  onRequest(report: RequestReport, nowMs: number): void {
    const method = report.kind;
    this.#storage.calls.inc({ method });
    this.#storage.timestamp.set({ method }, nowMs / 1000);
    this.#storage.duration.observe({ method }, report.durationMs / 1000);
    if (report.error !== undefined) {
      this.#storage.errors.inc({ method });
      this.#storage.errorsByType.inc({ method, error: report.error });
    }
  }

  /** The text of `/metrics`. */
  async text(): Promise<string> {
    // Once per scrape, not once per gauge: with many databases and instances making a status takes a while.
    this.#databases = this.#status.databases();
    this.#scrapes.inFlight.inc();
    let code = '500';
    try {
      const text = await this.registry.metrics();
      code = '200';
      return text;
    } finally {
      this.#scrapes.inFlight.dec();
      this.#scrapes.total.inc({ code });
    }
  }

  get contentType(): string {
    return this.registry.contentType;
  }
}

export type SyncerMetrics = ReturnType<typeof createSyncerMetrics>;

function createSyncerMetrics(registry: Registry) {
  const make = metricMaker(registry);
  return { ...upstreamMetrics(make), ...ownMetrics(make) };
}

function metricMaker(registry: Registry) {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter({ name: `lightningstream_${name}`, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Gauge({ name: `lightningstream_${name}`, help, labelNames: [...labelNames], registers });
  const histogram = <L extends string>(
    name: string,
    help: string,
    more: { readonly labelNames: readonly L[]; readonly buckets: number[] },
  ) =>
    new Histogram({
      name: `lightningstream_${name}`,
      help,
      labelNames: [...more.labelNames],
      buckets: more.buckets,
      registers,
    });
  /** Sum and count, as upstream has it: no quantiles. */
  const summary = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Summary({
      name: `lightningstream_${name}`,
      help,
      labelNames: [...labelNames],
      percentiles: [],
      registers,
    });
  return { counter, gauge, histogram, summary };
}

type MetricMaker = ReturnType<typeof metricMaker>;
const PER_INSTANCE = ['lmdb', 'syncer_instance'] as const;

function upstreamMetrics({ counter, gauge, histogram, summary }: MetricMaker) {
  return {
    generated: counter('syncer_snapshots_generated_total', 'Objects generated', ['lmdb']),
    generatedLast: gauge(
      'syncer_snapshots_generated_last_unix_seconds',
      'Time of the last object generated',
      ['lmdb'],
    ),
    generatedSize: gauge(
      'syncer_snapshots_generated_last_size_bytes',
      'Compressed size of the last object generated',
      ['lmdb'],
    ),
    storeCalls: counter('syncer_snapshots_store_calls_total', 'Attempts to store an object', []),
    storeBytes: counter('syncer_snapshots_store_bytes_total', 'Bytes stored', []),
    storeFailed: counter(
      'syncer_snapshots_store_failed_attempts_total',
      'Failed attempts to store an object',
      ['lmdb'],
    ),
    storeGaveUp: counter(
      'syncer_snapshots_store_failed_permanently_total',
      'Objects not stored because the agent gave up',
      ['lmdb'],
    ),
    loadCalls: counter('syncer_snapshots_load_calls_total', 'Objects fetched', []),
    loadBytes: counter('syncer_snapshots_load_bytes_total', 'Bytes fetched', []),
    loadFailed: counter('syncer_snapshots_load_failed_total', 'Failed fetches', PER_INSTANCE),
    listCalls: counter('syncer_snapshots_list_calls_total', 'Listings of the storage', []),
    listFailed: counter('syncer_snapshots_list_failed_total', 'Failed listings of the storage', [
      'lmdb',
    ]),
    receivedLast: gauge(
      'receiver_snapshots_last_received_seconds',
      'Time of the newest object seen',
      PER_INSTANCE,
    ),
    receivedAge: histogram(
      'receiver_snapshots_last_received_age_seconds',
      'Age of objects when first seen',
      {
        labelNames: PER_INSTANCE,
        buckets: AGE_BUCKETS,
      },
    ),
    inStorage: gauge('receiver_snapshots_in_storage_count', 'Objects in the storage', ['lmdb']),
    inStorageBytes: gauge(
      'receiver_snapshots_in_storage_bytes',
      'Size of the objects in the storage',
      ['lmdb'],
    ),
    sweeperCleaned: counter('sweeper_cleaned_total', 'Tombstones removed', ['lmdb']),
    sweeperAvailable: gauge('sweeper_stats_available', '1 after the first sweep', ['lmdb']),
    sweeperEntries: gauge('sweeper_stats_total_entries', 'Entries left, tombstones included', [
      'lmdb',
    ]),
    sweeperTombstones: gauge('sweeper_stats_deleted_entries', 'Tombstones left', ['lmdb']),
    sweeperDuration: summary('sweeper_duration_seconds', 'Duration of sweeps', ['lmdb']),
    cleanerListCalls: counter('cleaner_list_calls_total', 'Listings by the cleaner', []),
    cleanerListFailed: counter('cleaner_list_failed_total', 'Failed listings by the cleaner', []),
    cleanerDeletes: counter('cleaner_delete_total', 'Deletions that the cleaner tried', [
      'lmdb',
      'reason',
    ]),
    cleanerDeleteFailed: counter('cleaner_delete_failed_total', 'Failed deletions', []),
  };
}

function ownMetrics({ counter, histogram }: MetricMaker) {
  return {
    storedObjects: counter('stored_objects_total', 'Objects stored', ['lmdb', 'kind']),
    storedEntries: counter('stored_entries_total', 'Entries in stored objects', ['lmdb']),
    storeDuration: histogram(
      'store_duration_seconds',
      'From the start of encoding to the acknowledgement',
      {
        labelNames: ['lmdb'],
        buckets: LATENCY_BUCKETS,
      },
    ),
    mergedObjects: counter('merged_objects_total', 'Objects merged', PER_INSTANCE),
    mergedEntries: counter('merged_entries_total', 'Entries in merged objects', ['lmdb']),
    mergedChanges: counter('merged_changes_total', 'Entries that a merge changed', ['lmdb']),
    mergeTransactions: counter('merge_transactions_total', 'Write transactions of merges', [
      'lmdb',
    ]),
    lockHeld: histogram('merge_lock_held_seconds', 'Longest time a merge held the write lock', {
      labelNames: ['lmdb'],
      buckets: LOCK_BUCKETS,
    }),
    lockWait: histogram('merge_lock_wait_seconds', 'Time a merge waited for the write lock', {
      labelNames: ['lmdb'],
      buckets: LOCK_BUCKETS,
    }),
    regressions: counter(
      'regressions_total',
      'Local changes older than what they replaced, put back',
      ['lmdb'],
    ),
    futureEntries: counter('future_entries_total', 'Entries with a time in the future', ['lmdb']),
    rejoins: counter('rejoins_total', 'Rejoins after a long absence', ['lmdb']),
    rejoinDropped: counter(
      'rejoin_dropped_entries_total',
      'Entries that others had deleted and swept, dropped at a rejoin',
      ['lmdb'],
    ),
    lmdbFailed: counter('lmdb_failed_total', 'Failed work in the LMDB', ['lmdb']),
    stepFailures: counter('step_failures_total', 'Failed steps, each of which is tried again', [
      'lmdb',
      'step',
    ]),
  };
}

type StorageMetrics = ReturnType<typeof createStorageMetrics>;

function createStorageMetrics(registry: Registry, type: string) {
  const registers = [registry];
  const name = (suffix: string) => `storage_${type}_call_${suffix}`;
  return {
    calls: new Counter({
      name: name('total'),
      help: 'Storage requests',
      labelNames: ['method'],
      registers,
    }),
    timestamp: new Gauge({
      name: name('timestamp_seconds'),
      help: 'Time of the last storage request',
      labelNames: ['method'],
      registers,
    }),
    duration: new Histogram({
      name: name('duration_seconds'),
      help: 'Duration of storage requests',
      labelNames: ['method'],
      buckets: CALL_BUCKETS,
      registers,
    }),
    errors: new Counter({
      name: name('error_total'),
      help: 'Failed storage requests',
      labelNames: ['method'],
      registers,
    }),
    errorsByType: new Counter({
      name: name('error_by_type_total'),
      help: 'Failed storage requests by error',
      labelNames: ['method', 'error'],
      registers,
    }),
  };
}

type ScrapeMetrics = ReturnType<typeof createScrapeMetrics>;

/** What Go's handler of `/metrics` says about itself. */
function createScrapeMetrics(registry: Registry) {
  const registers = [registry];
  const total = new Counter({
    name: 'promhttp_metric_handler_requests_total',
    help: 'Scrapes by HTTP status code',
    labelNames: ['code'],
    registers,
  });
  for (const code of ['200', '500']) {
    total.inc({ code }, 0);
  }
  const inFlight = new Gauge({
    name: 'promhttp_metric_handler_requests_in_flight',
    help: 'Scrapes being answered',
    registers,
  });
  return { total, inFlight };
}
