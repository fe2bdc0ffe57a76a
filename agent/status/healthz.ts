import type { Check, HealthChecks } from '../watchdog/health-check.ts';
import { Conditions } from '../monitor/conditions.ts';
import { DatabaseHealth } from '../monitor/health.ts';
import type { DatabaseStatus, StatusSource } from '../monitor/status.ts';

/** Upstream refreshes its runtime figures this often; reading them takes a moment. */
const RUNTIME_REFRESH_MS = 15_000;

export type HealthzDeps = {
  readonly status: StatusSource;
  /** Whatever else is checked: the storage and the start of each database, the notices. */
  readonly health: readonly HealthChecks[];
  readonly hostname: string;
  /** After how long a condition that stops sync is a failure. */
  readonly errorAfterMs: number;
  /** Whether `startup_<db>` is reported. */
  readonly reportStartup: boolean;
  readonly now: () => number;
};

/** A thread that has not answered for so long will not: the process does not work any more. */
const HUNG_MS = 10 * 60_000;

export type HealthzAnswer = { readonly statusCode: 200 | 503; readonly body: string };

/**
 * The answers of `/healthz`: 503 while any check fails, 200 with warnings or without. And those of `/livez` and `/readyz`,
 * which say what an orchestrator asks.
 *
 * Source: wojas/go-healthz; PowerDNS/lightningstream, `cmd/lightningstream/commands/sync.go`.
 */
export class Healthz {
  readonly #deps: HealthzDeps;
  readonly #conditions: Conditions;
  #runtime: Runtime | undefined;
  #runtimeMs = 0;

  constructor(deps: HealthzDeps) {
    this.#deps = deps;
    this.#conditions = new Conditions(deps.errorAfterMs);
  }

  /** All that is not fine now. */
  checks(databases: readonly DatabaseStatus[]): Check[] {
    const { health, now } = this.#deps;
    const nowMs = now();
    return [
      ...health.flatMap((part) => part.checks()),
      ...databases.flatMap((database) => this.#conditions.checks(database, nowMs)),
    ];
  }

  answer(): HealthzAnswer {
    const { status, now } = this.#deps;
    const nowMs = now();
    const checks = this.checks(status.databases());
    const failures = messages(checks, 'error');
    const warnings = messages(checks, 'warning');
    const ok = Object.keys(failures).length === 0;
    const hasWarnings = Object.keys(warnings).length > 0;
    const body = {
      ok,
      has_warnings: hasWarnings,
      status: ok ? (hasWarnings ? 'Warning' : 'OK') : 'Unavailable',
      time: new Date(nowMs).toISOString(),
      since: new Date(status.startedMs).toISOString(),
      runtime: this.#readRuntime(nowMs),
      failures,
      warnings,
      metadata: this.#metadata(),
    };
    return { statusCode: ok ? 200 : 503, body: `${JSON.stringify(body)}\n` };
  }

  /** The answer of `/livez`: 200 while the process works. Its cause elsewhere, a restart would not help. */
  live(): HealthzAnswer {
    const hung = this.#databaseHealth().filter((health) => health.isThreadHung(HUNG_MS));
    const failures = Object.fromEntries(
      hung.map(({ database }) => [database, 'the thread of its LMDB does not answer']),
    );
    return probeAnswer('live', failures);
  }

  /** The answer of `/readyz`: 200 when every database has what the bucket held at start, and nothing is in error. */
  ready(): HealthzAnswer {
    const databases = this.#deps.status.databases();
    const missing = Object.fromEntries(
      databases.flatMap(({ name, started, lastPassMs }) =>
        started && lastPassMs !== undefined
          ? []
          : [[name, 'the initial sync is not done: no listing pass has been complete']],
      ),
    );
    const failures = messages(this.checks(databases), 'error');
    const none = databases.length === 0 ? { agent: 'no database is being synced yet' } : {};
    return probeAnswer('ready', { ...none, ...missing, ...failures });
  }

  #databaseHealth(): DatabaseHealth[] {
    return this.#deps.health.filter((part) => part instanceof DatabaseHealth);
  }

  #metadata(): Record<string, string | boolean> {
    const { status, hostname, reportStartup } = this.#deps;
    const metadata: Record<string, string | boolean> = { hostname, version: status.version };
    for (const { database, isStarted } of reportStartup ? this.#databaseHealth() : []) {
      metadata[`startup_${database}`] = isStarted;
    }
    return metadata;
  }

  #readRuntime(nowMs: number): Runtime {
    if (this.#runtime === undefined || nowMs - this.#runtimeMs >= RUNTIME_REFRESH_MS) {
      this.#runtime = readRuntime();
      this.#runtimeMs = nowMs;
    }
    return this.#runtime;
  }
}

/** Upstream's keys. What Go counts and Node does not know is the nearest thing, or 0. */
type Runtime = {
  readonly arch: string;
  readonly os: string;
  readonly version: string;
  readonly goroutines_count: number;
  readonly heap_objects_count: number;
  readonly alloc_bytes: number;
  readonly total_alloc_bytes: number;
};

function readRuntime(): Runtime {
  const memory = process.memoryUsage();
  return {
    arch: process.arch === 'x64' ? 'amd64' : process.arch,
    os: process.platform,
    version: `node ${process.version}`,
    goroutines_count: process.getActiveResourcesInfo().length,
    heap_objects_count: 0,
    alloc_bytes: memory.heapUsed,
    total_alloc_bytes: memory.rss,
  };
}

function messages(checks: readonly Check[], level: Check['level']): Record<string, string> {
  return Object.fromEntries(
    checks.filter((check) => check.level === level).map(({ name, message }) => [name, message]),
  );
}

function probeAnswer(
  what: 'live' | 'ready',
  missing: Readonly<Record<string, string>>,
): HealthzAnswer {
  const ok = Object.keys(missing).length === 0;
  return { statusCode: ok ? 200 : 503, body: `${JSON.stringify({ [what]: ok, missing })}\n` };
}
