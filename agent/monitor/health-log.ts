import type { Check } from '../watchdog/health-check.ts';
import type { Logger } from '../log/log.ts';

/**
 * Logs when a check of `/healthz` becomes a failure and when it no longer is: once each. Of a loop that hangs nothing
 * else has said a word, so its warning is logged, too.
 */
export class HealthLog {
  readonly #log: Logger;
  readonly #told = new Map<string, Check['level']>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** All that is not fine now; to be called again and again. */
  note(checks: readonly Check[]): void {
    const worth = new Map(
      checks
        .filter(({ name, level }) => level === 'error' || name.endsWith('_stalled'))
        .map((check) => [check.name, check]),
    );
    for (const [name, { level, message }] of worth) {
      if (this.#told.get(name) === level) {
        continue;
      }
      this.#told.set(name, level);
      const fields = { check: name, message };
      if (level === 'error') {
        this.#log.error(fields, 'unhealthy: /healthz answers 503; what to do: docs/runbook.md');
      } else {
        this.#log.warn(fields, 'something makes no progress; what to do: docs/runbook.md');
      }
    }
    for (const name of this.#told.keys()) {
      if (!worth.has(name)) {
        this.#told.delete(name);
        this.#log.info({ check: name }, 'well again');
      }
    }
  }
}
