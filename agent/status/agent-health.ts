import { hostname } from 'node:os';
import type { Config } from '../config/config.ts';
import type { HealthChecks } from '../watchdog/health-check.ts';
import type { Logger } from '../log/log.ts';
import type { AgentStatus } from '../monitor/agent-status.ts';
import { HealthLog } from '../monitor/health-log.ts';
import type { DatabaseStatus } from '../monitor/status.ts';
import { findMarkerOptions } from '../open-store.ts';
import { Healthz } from './healthz.ts';

/** How often the agent looks at its own health. */
const INTERVAL_MS = 10_000;

/** What `/healthz` says, of all that can be `unwell`. */
export function createHealthz(
  { health }: Config,
  { status, unwell }: { status: AgentStatus; unwell: readonly HealthChecks[] },
): Healthz {
  return new Healthz({
    status,
    health: unwell,
    hostname: hostname(),
    errorAfterMs: health.storageLoad.errorDurationMs,
    reportStartup: health.start.reportMetadata,
    now: Date.now,
  });
}

/** Looks at the health by itself until it is disposed: what lasts must be known, and logged, also where nobody asks. */
export function watchHealth(
  healthz: Healthz,
  {
    members,
    log,
  }: {
    readonly members: readonly { readonly monitor: { status(): DatabaseStatus } }[];
    readonly log: Logger;
  },
): Disposable {
  const lines = new HealthLog(log);
  // Not by AgentStatus: that would look at the LMDBs each time.
  const look = () => lines.note(healthz.checks(members.map(({ monitor }) => monitor.status())));
  const timer = setInterval(look, INTERVAL_MS);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/** Every notice source asks for a listing at least this often. */
export function longestListIntervalMs(config: Config): number {
  const marker = findMarkerOptions(config.storage);
  return Math.max(
    config.storagePollIntervalMs,
    config.storageSafetyListIntervalMs,
    marker?.forceListIntervalMs ?? 0,
  );
}
