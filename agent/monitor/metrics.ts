import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { RequestReport } from '../../storage/requests.ts';
import { MetricMaker } from './metric-maker.ts';
import { LimitMetrics } from './limit-metrics.ts';
import { HookMetrics } from './hook-metrics.ts';
import { NoticeMetrics } from './notice-metrics.ts';
import { createScrapedMetrics } from './scraped-metrics.ts';
import type { Check } from '../watchdog/health-check.ts';
import type { SmapsReader } from './smaps.ts';
import type { DatabaseStatus, StatusSource } from './status.ts';
import { createSyncerMetrics, type SyncerMetrics } from './syncer-metrics.ts';

const CALL_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60];

/** All checks that are not fine, with the databases as they are now. */
type HealthSource = (databases: readonly DatabaseStatus[]) => readonly Check[];

export type MetricsOptions = {
  readonly status: StatusSource;
  /** Names the storage metrics: `storage_s3_call_total`. */
  readonly storageType: string;
  /** Reads memory map figures at a scrape; undefined: they are left out. */
  readonly smaps?: SmapsReader | undefined;
  /** Names of the hooks after merges. */
  readonly hooks?: readonly string[] | undefined;
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
  #checks: HealthSource = () => [];

  constructor(options: MetricsOptions) {
    this.syncer = createSyncerMetrics(this.registry);
    this.notices = new NoticeMetrics(this.registry);
    this.hooks = new HookMetrics(this.registry, options.hooks ?? []);
    this.limits = new LimitMetrics(this.registry, () => performance.now());
    this.#scrapes = createScrapeMetrics(this.registry);
    this.#storage = createStorageMetrics(this.registry, options.storageType);
    this.#status = options.status;
    createScrapedMetrics(this.registry, {
      version: options.status.version,
      checks: (databases) => this.#checks(databases),
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

  /** From now on the checks of `/healthz` are metrics, too. */
  watchHealth(checks: HealthSource): void {
    this.#checks = checks;
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

type StorageMetrics = ReturnType<typeof createStorageMetrics>;

function createStorageMetrics(registry: Registry, type: string) {
  const make = new MetricMaker(registry, `storage_${type}_call_`);
  const labels = { method: ['list', 'load', 'store', 'delete'] } as const;
  return {
    calls: make.counter('total', 'Storage requests', labels),
    timestamp: make.gauge('timestamp_seconds', 'Time of the last storage request', labels),
    duration: make.histogram('duration_seconds', 'Duration of storage requests', {
      labels,
      buckets: CALL_BUCKETS,
    }),
    errors: make.counter('error_total', 'Failed storage requests', labels),
    errorsByType: make.counter('error_by_type_total', 'Failed storage requests by error', {
      ...labels,
      error: 'unknown',
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
