import { errorText, SyncError } from '../../protocol/errors.ts';
import type { LogFields, Logger } from '../log/log.ts';
import { RepeatedLines } from '../log/repeated-lines.ts';
import type { DatabaseHealth } from './health.ts';
import type { SyncerMetrics } from './syncer-metrics.ts';
import { STEP_RULES, type AnyStep } from './step-rules.ts';

type StepMonitorDeps = {
  readonly name: string;
  readonly health: DatabaseHealth;
  readonly metrics: SyncerMetrics;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/**
 * Follows all steps that are tried again: on `/healthz` until the same one succeeds, in a metric each time, and in the
 * log once and then summed up.
 */
export class StepMonitor {
  readonly #deps: StepMonitorDeps;
  readonly #lines: RepeatedLines;

  constructor(deps: StepMonitorDeps) {
    this.#deps = deps;
    this.#lines = new RepeatedLines(deps.log, deps.now);
  }

  /** `subject`: only with this object, where the step is done object by object. */
  failed(
    step: AnyStep,
    error: unknown,
    more: { readonly subject?: string | undefined; readonly fields?: LogFields | undefined } = {},
  ): void {
    const { name, health, metrics } = this.#deps;
    const { activity, log } = STEP_RULES[step];
    health.step(step).failed(error, more.subject);
    metrics.stepFailures.inc({ lmdb: name, step });
    const hint = error instanceof SyncError ? error.hint : undefined;
    const fields = { ...more.fields, snapshot_name: more.subject, error: errorText(error), hint };
    this.#lines.warn(step, fields, log ?? `cannot ${activity} now, trying again`);
  }

  /** Without a subject: as a whole, with all objects. */
  worked(step: AnyStep, subject?: string): void {
    const tracker = this.#deps.health.step(step);
    if (!tracker.isFailing) {
      return;
    }
    tracker.succeeded(subject);
    if (!tracker.isFailing) {
      this.#lines.over(step, {}, `can ${STEP_RULES[step].activity} again`);
    }
  }
}
