import type { Counter, Histogram, Registry } from 'prom-client';
import { MetricMaker } from './metric-maker.ts';
import type { HookObserver } from '../after-merge/hook.ts';

const DURATION_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];

/** Metrics of what runs after merges; empty where nothing does. */
export class HookMetrics implements HookObserver {
  readonly #runs: Counter<'hook' | 'result'>;
  readonly #duration: Histogram<'hook'>;

  constructor(registry: Registry, hooks: readonly string[]) {
    const make = new MetricMaker(registry);
    this.#runs = make.counter(
      'after_merge_runs_total',
      'Runs of hooks after merges by result: ok, failed',
      { hook: hooks, result: ['ok', 'failed'] },
    );
    this.#duration = make.histogram('after_merge_duration_seconds', 'Duration of these runs', {
      labels: { hook: hooks },
      buckets: DURATION_BUCKETS,
    });
  }

  ran(hook: string, outcome: { readonly failed: boolean; readonly durationMs: number }): void {
    this.#runs.inc({ hook, result: outcome.failed ? 'failed' : 'ok' });
    this.#duration.observe({ hook }, outcome.durationMs / 1000);
  }
}
