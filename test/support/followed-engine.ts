import { parseConfig } from '../../agent/config/config.ts';
import type { SyncObserver } from '../../agent/engine/observer.ts';
import { DatabaseMonitor } from '../../agent/monitor/database-monitor.ts';
import { Metrics } from '../../agent/monitor/metrics.ts';
import type { AnyStep } from '../../agent/monitor/step-rules.ts';
import type { Watchdog } from '../../agent/watchdog/watchdog.ts';
import { recordingLog } from './hosted-engine.ts';
import { statusSource } from './status.ts';

const { health } = parseConfig('lmdbs: {main: {path: /db}}', {
  fileName: 'x',
  processEnv: {},
  hostname: 'h',
}).config;

/** One for all: what is counted is no matter here, and a registry is not cheap. */
const { syncer } = new Metrics({
  status: statusSource(),
  storageType: 'memory',
  processMetrics: false,
});

/** Steps that come again by themselves as soon as all is well; the others wait for their interval. */
const FREQUENT: readonly AnyStep[] = [
  'bucket id',
  'list',
  'load',
  'store',
  'merge',
  'local changes',
  'pass',
  'manifest',
];
/** No work of a simulated agent takes so long without moving. */
const STALL_MS = 10 * 60_000;

/** Follows an engine as the agent's monitor does; a test asks what `/healthz` would have to say. */
export class FollowedEngine {
  readonly observer: SyncObserver;
  readonly #monitor: DatabaseMonitor;
  readonly #watchdog: Watchdog;

  constructor({ watchdog, nowMs }: { readonly watchdog: Watchdog; readonly nowMs: () => number }) {
    this.#watchdog = watchdog;
    this.#monitor = new DatabaseMonitor({
      name: 'main',
      path: '/db',
      health,
      metrics: syncer,
      log: recordingLog(() => undefined),
      now: nowMs,
      watchdog,
    });
    this.observer = this.#monitor;
  }

  /** Steps that fail and loops that hang now, however short a time. */
  trouble(): string[] {
    const failing = FREQUENT.filter((step) => this.#monitor.health.step(step).isFailing);
    const stalls = this.#watchdog.stalls(STALL_MS);
    return [...failing, ...stalls.map(({ loop, waitsFor }) => `${loop} ${waitsFor}`)];
  }
}
