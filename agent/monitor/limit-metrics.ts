import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Limit } from '../pacing/semaphore.ts';

/** Upstream's labels: `download` and `decompress` are its names, see docs/compatibility.md for what they mean here. */
export type LimitLabels = { readonly lmdb: string; readonly limit_name: 'download' | 'decompress' };

const LABELS = ['lmdb', 'limit_name'] as const;

/**
 * Upstream's `lightningstream_climit_*`: how long work waits for its turn. Always waiting for `download` means that
 * `memory_downloaded_snapshots` is what bounds a start; for `decompress`, that merging into this LMDB is.
 */
export class LimitMetrics {
  readonly #limit: Gauge<keyof LimitLabels>;
  readonly #waiting: Gauge<keyof LimitLabels>;
  readonly #active: Gauge<keyof LimitLabels>;
  readonly #acquired: Counter<keyof LimitLabels>;
  readonly #activeSeconds: Histogram<keyof LimitLabels>;
  readonly #waitingSeconds: Histogram<keyof LimitLabels>;
  readonly #monotonicMs: () => number;

  constructor(registry: Registry, monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs;
    const base = (name: string, help: string) => ({
      name: `lightningstream_climit_${name}`,
      help,
      labelNames: LABELS,
      registers: [registry],
    });
    this.#limit = new Gauge(base('limit', 'Places; download: shared by all databases'));
    this.#waiting = new Gauge(base('waiting', 'Waiting for a place'));
    this.#active = new Gauge(base('active', 'Holding a place'));
    this.#acquired = new Counter(base('acquired_total', 'Places taken'));
    // The default buckets, as upstream.
    this.#activeSeconds = new Histogram(base('active_seconds', 'How long a place was held'));
    this.#waitingSeconds = new Histogram(
      base('waiting_seconds', 'How long a place was waited for'),
    );
  }

  /** The same limit; what acquires it is measured. */
  measured(limit: Limit, labels: LimitLabels): Limit {
    this.#limit.set(labels, limit.limit);
    this.#waiting.set(labels, 0);
    this.#active.set(labels, 0);
    this.#acquired.inc(labels, 0);
    this.#activeSeconds.zero(labels);
    this.#waitingSeconds.zero(labels);
    return { limit: limit.limit, acquire: (signal) => this.#acquire(limit, { labels, signal }) };
  }

  async #acquire(
    limit: Limit,
    { labels, signal }: { labels: LimitLabels; signal: AbortSignal },
  ): Promise<() => void> {
    const askedMs = this.#monotonicMs();
    this.#waiting.inc(labels);
    let release: () => void;
    try {
      release = await limit.acquire(signal);
    } finally {
      this.#waiting.dec(labels);
    }
    const gotMs = this.#monotonicMs();
    this.#waitingSeconds.observe(labels, (gotMs - askedMs) / 1000);
    this.#acquired.inc(labels);
    this.#active.inc(labels);
    let held = true;
    return () => {
      if (!held) {
        return;
      }
      held = false;
      this.#active.dec(labels);
      this.#activeSeconds.observe(labels, (this.#monotonicMs() - gotMs) / 1000);
      release();
    };
  }
}
