import assert from 'node:assert/strict';
import { errorText, SyncError } from '../../protocol/errors.ts';
import { formatGoDuration } from '../../protocol/time.ts';
import type { HealthConfig, TrackerConfig } from '../config/config.ts';
import type { Check } from '../watchdog/health-check.ts';
import type { Watchdog } from '../watchdog/watchdog.ts';
import { ANY_STEPS, STEP_RULES, stepLimits, type AnyStep } from './step-rules.ts';

/** Objects that are remembered as failing; of more than these only that the activity fails is known. */
const MAX_SUBJECTS = 1000;

/**
 * Watches one activity for failing continuously: from the first failure to the next success of the same. What is done
 * object by object fails until each object that failed has succeeded, or all have.
 *
 * Source: PowerDNS/lightningstream `status/healthtracker`.
 */
export class ActivityTracker {
  readonly #name: string;
  readonly #activity: string;
  readonly #limits: TrackerConfig;
  readonly #now: () => number;
  /** Since when, by object; '' where there is none. */
  readonly #failing = new Map<string, number>();
  #lastError: unknown;

  constructor(
    what: { readonly name: string; readonly activity: string },
    limits: TrackerConfig,
    now: () => number,
  ) {
    this.#name = what.name;
    this.#activity = what.activity;
    this.#limits = limits;
    this.#now = now;
  }

  get isFailing(): boolean {
    return this.#failing.size > 0;
  }

  /** The last error; undefined while fine. */
  get error(): unknown {
    return this.isFailing ? this.#lastError : undefined;
  }

  /** Without a subject: all of it. */
  succeeded(subject?: string): void {
    if (subject === undefined) {
      this.#failing.clear();
    } else {
      this.#failing.delete(subject);
    }
  }

  failed(error: unknown, subject = ''): void {
    this.#lastError = error;
    if (!this.#failing.has(subject) && this.#failing.size < MAX_SUBJECTS) {
      this.#failing.set(subject, this.#now());
    }
  }

  /** What to do about the last error, where that is known. */
  #hint(): string {
    const hint = this.#lastError instanceof SyncError ? this.#lastError.hint : undefined;
    return hint === undefined ? '' : `. ${hint}`;
  }

  /** What to report now; undefined while fine. */
  check(): Check | undefined {
    if (!this.isFailing) {
      return undefined;
    }
    const forMs = this.#now() - Math.min(...this.#failing.values());
    return overdue(forMs, this.#limits, (rounded) => ({
      name: this.#name,
      message: `failed to ${this.#activity} for ${rounded} - last error: '${errorText(this.#lastError)}'${this.#hint()}`,
    }));
  }
}

function overdue(
  forMs: number,
  limits: Pick<TrackerConfig, 'warnDurationMs' | 'errorDurationMs'>,
  describe: (rounded: string) => { readonly name: string; readonly message: string },
): Check | undefined {
  const level =
    forMs >= limits.errorDurationMs
      ? 'error'
      : forMs >= limits.warnDurationMs
        ? 'warning'
        : undefined;
  const rounded = formatGoDuration(Math.round(forMs / 1000) * 1000);
  return level === undefined ? undefined : { level, ...describe(rounded) };
}

/** The checks of one database. Evaluated when asked, so that an answer is never older than the question. */
export class DatabaseHealth {
  readonly database: string;
  readonly #steps: ReadonlyMap<AnyStep, ActivityTracker>;
  readonly #watchdog: Watchdog | undefined;
  readonly #config: HealthConfig;
  readonly #now: () => number;
  readonly #startedMs: number;
  #started = false;

  constructor(
    database: string,
    config: HealthConfig,
    { now, watchdog }: { readonly now: () => number; readonly watchdog?: Watchdog | undefined },
  ) {
    this.database = database;
    this.#config = config;
    this.#watchdog = watchdog;
    this.#now = now;
    this.#startedMs = now();
    this.#steps = new Map(
      ANY_STEPS.map((step) => {
        const { check, activity } = STEP_RULES[step];
        const name = `${database}_${check ?? step}`;
        const limits = stepLimits(STEP_RULES[step], config);
        return [step, new ActivityTracker({ name, activity }, limits, now)];
      }),
    );
  }

  /** Watches this step for failing. */
  step(step: AnyStep): ActivityTracker {
    const tracker = this.#steps.get(step);
    assert(tracker !== undefined, `no step ${step}`);
    return tracker;
  }

  /** The start is finished: everything listed at start is merged or set aside, and what was due is stored. */
  started(): void {
    this.#started = true;
  }

  get isStarted(): boolean {
    return this.#started;
  }

  /** The loops that are due and make no progress, as checks of their own. */
  stalls(): Check[] {
    const { storageList } = this.#config;
    const stalls = this.#watchdog?.stalls(storageList.warnDurationMs) ?? [];
    return stalls.flatMap(({ loop, waitsFor, forMs }) => {
      const check = overdue(forMs, storageList, (rounded) => ({
        name: `${this.database}_${loop}_stalled`,
        message: `${loop}: ${waitsFor} since ${rounded}`,
      }));
      return check === undefined ? [] : [check];
    });
  }

  /** Its LMDB's thread has not answered for this long, and waits for nothing that another program has. */
  isThreadHung(limitMs: number): boolean {
    const stalls = this.#watchdog?.stalls(limitMs) ?? [];
    return stalls.some(({ loop, isElsewhere }) => loop === 'lmdb' && !isElsewhere);
  }

  /** All that is not fine with its steps, its loops and the start. */
  checks(): Check[] {
    const { start } = this.#config;
    const starting =
      this.#started || !start.reportHealthz
        ? undefined
        : overdue(this.#now() - this.#startedMs, start, (rounded) => ({
            name: `${this.database}_startup_in_progress`,
            message: `successful startup pending after ${rounded}`,
          }));
    const steps = ANY_STEPS.flatMap((step) =>
      STEP_RULES[step].check === undefined ? [] : [this.step(step).check()],
    );
    return [...[...steps, starting].filter((check) => check !== undefined), ...this.stalls()];
  }
}
