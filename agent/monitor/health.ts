import assert from 'node:assert/strict';
import { errorText } from '../../protocol/errors.ts';
import { MAX_ENTRY_BYTES, MAX_KEY_BYTES } from '../../protocol/limits.ts';
import { formatGoDuration } from '../../protocol/time.ts';
import type { HealthConfig, TrackerConfig } from '../config/config.ts';
import type { Check } from '../health-check.ts';
import type { Watchdog } from '../watchdog/watchdog.ts';
import { refusedText, unnamedDataText } from './lmdb-trouble.ts';
import type { DatabaseStatus, Occurrences } from './status.ts';
import { ANY_STEPS, STEP_RULES, stepLimits, type AnyStep } from './step-rules.ts';

/** What an entry may have for all instances to take it. */
const LARGEST_ENTRY = `a key may have ${MAX_KEY_BYTES} bytes, a value ${MAX_ENTRY_BYTES / 1024 ** 3} GiB`;

/** A regression or a time in the future is reported for this long after it was last seen. */
const RECENT_MS = 3_600_000;
/** More DBIs than this are only counted in a message. */
const MAX_NAMED_DBIS = 5;

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

  /** What to report now; undefined while fine. */
  check(): Check | undefined {
    if (!this.isFailing) {
      return undefined;
    }
    const forMs = this.#now() - Math.min(...this.#failing.values());
    return overdue(forMs, this.#limits, (rounded) => ({
      name: this.#name,
      message: `failed to ${this.#activity} for ${rounded} - last error: '${errorText(this.#lastError)}'`,
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

/** Conditions under which a database sends or receives nothing: they become errors. All others stay warnings. */
const STOPS_SYNC: ReadonlySet<string> = new Set([
  'map_full',
  'lmdb_failed',
  'max_dbs',
  'unnamed_data',
  'dbi_out_of_order',
]);

/**
 * The conditions of all databases as checks. One that stops sync is a warning at first, and an error once it has been
 * seen for `errorAfterMs`.
 */
export class Conditions {
  readonly #errorAfterMs: number;
  readonly #sinceMs = new Map<string, number>();

  constructor(errorAfterMs: number) {
    this.#errorAfterMs = errorAfterMs;
  }

  /** Asked again and again, it learns for how long each has lasted. */
  checks(status: DatabaseStatus, nowMs: number): Check[] {
    const checks = conditionChecks(status, nowMs);
    for (const condition of STOPS_SYNC) {
      const name = `${status.name}_${condition}`;
      if (checks.some((check) => check.name === name)) {
        this.#sinceMs.set(name, this.#sinceMs.get(name) ?? nowMs);
      } else {
        this.#sinceMs.delete(name);
      }
    }
    return checks.map((check) => {
      const sinceMs = this.#sinceMs.get(check.name);
      const isError = sinceMs !== undefined && nowMs - sinceMs >= this.#errorAfterMs;
      return isError ? { ...check, level: 'error' } : check;
    });
  }
}

/** What an operator has to know about a database, each with what to do; see {@link Conditions} for which are errors. */
export function conditionChecks(status: DatabaseStatus, nowMs: number): Check[] {
  const messages: [string, string | undefined][] = [
    ['map_full', mapFullText(status)],
    ['lmdb_failed', status.mapFull ? undefined : lmdbText(status)],
    ['unnamed_data', status.unnamedData && unnamedDataText(status.unnamedData)],
    ['dbi_out_of_order', outOfOrderText(status)],
    ['quarantined_objects', quarantineText(status)],
    ['max_dbs', maxDbsText(status)],
    [
      'clock_behind',
      recent(status.regressions, nowMs)
        ? `${status.regressions.total} local changes were older than what they replaced and were put back: set the clock of this host, or of the application's container`
        : undefined,
    ],
    [
      'clock_skew',
      recent(status.futureEntries, nowMs)
        ? `${status.futureEntries.total} entries have a time in the future: check the clocks of all hosts; such entries win until that time has come`
        : undefined,
    ],
    [
      'invalid_values',
      status.invalidValues > 0
        ? `${status.invalidValues} local values have no valid header and are not sent: the application does not use the native schema, see schema_tracks_changes`
        : undefined,
    ],
    ['entries_left_out', leftOutText(status)],
    ['received_entries_left_out', receivedLeftOutText(status)],
    ['rejoin_pending', rejoinText(status)],
    [
      'instance_name_shared',
      status.sharedName.length > 0
        ? `another agent uses this instance name (${status.sharedName.join(', ')}): give each agent a name of its own`
        : undefined,
    ],
  ];
  return messages.flatMap(([condition, message]) =>
    message === undefined
      ? []
      : [{ name: `${status.name}_${condition}`, level: 'warning' as const, message }],
  );
}

function mapFullText(status: DatabaseStatus): string | undefined {
  return status.mapFull
    ? 'the LMDB map is full, nothing can be merged: enlarge the map size in the application (PowerDNS: lmdb-map-size) and restart it'
    : undefined;
}

function lmdbText(status: DatabaseStatus): string | undefined {
  return status.error === undefined
    ? undefined
    : `the LMDB cannot be used now: ${status.error}; it is tried again`;
}

function outOfOrderText({ refusedDbis }: DatabaseStatus): string | undefined {
  const texts = refusedDbis.slice(0, MAX_NAMED_DBIS).map(refusedText);
  const more = refusedDbis.length - texts.length;
  return texts.length === 0
    ? undefined
    : [...texts, ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}

function quarantineText(status: DatabaseStatus): string | undefined {
  const damaged = status.quarantined.filter(({ exceedsDbis = false }) => !exceedsDbis);
  const [first] = damaged;
  return first === undefined
    ? undefined
    : `${damaged.length} damaged objects are left out, the first is ${first.name} (${first.error}): remove them with "snapshots remove" once their instance has stored a newer full snapshot`;
}

function maxDbsText({ quarantined }: DatabaseStatus): string | undefined {
  const objects = quarantined.filter(({ exceedsDbis = false }) => exceedsDbis);
  const [first] = objects;
  return first === undefined
    ? undefined
    : `${counted(objects.length, 'object is', 'objects are')} not merged, the first is ${first.name} (${first.error}): raise options.max_dbs of this database and restart the agent, it is merged then`;
}

function leftOutText({ leftOut }: DatabaseStatus): string | undefined {
  return (
    leftOut &&
    `${counted(leftOut.entries, 'local entry is', 'local entries are')} too large and not sent, the first is ${leftOut.first}: ${LARGEST_ENTRY}; shorten them in the application`
  );
}

function receivedLeftOutText({ receivedLeftOut: leftOut }: DatabaseStatus): string | undefined {
  return (
    leftOut &&
    `${counted(leftOut.entries, 'received entry is', 'received entries are')} too large and not merged, the first is ${leftOut.first} in ${leftOut.object}: ${LARGEST_ENTRY}; shorten them in the application that wrote them`
  );
}

/** One that is under way is no reason to wake anybody; one that cannot be finished is. */
function rejoinText({ rejoin }: DatabaseStatus): string | undefined {
  if (rejoin?.postponed === undefined) {
    return undefined;
  }
  const last = new Date(rejoin.lastSyncMs).toISOString();
  return `this host was last in sync at ${last} and cannot rejoin: ${rejoin.postponed}; until it has, nothing is swept or cleaned here; it is tried again every ten minutes`;
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

function recent(occurrences: Occurrences, nowMs: number): boolean {
  return occurrences.lastMs !== undefined && nowMs - occurrences.lastMs < RECENT_MS;
}
