import assert from 'node:assert/strict';
import { errorText, SyncError } from '../../protocol/errors.ts';
import { MAX_ENTRY_BYTES, MAX_KEY_BYTES } from '../../protocol/limits.ts';
import { formatGoDuration } from '../../protocol/time.ts';
import type { HealthConfig, TrackerConfig } from '../config/config.ts';
import type { Check } from '../health-check.ts';
import type { Watchdog } from '../watchdog/watchdog.ts';
import { refusedText, unnamedDataText } from './status.ts';
import type { DatabaseStatus, Occurrences } from './status.ts';
import { ANY_STEPS, STEP_RULES, stepLimits, type AnyStep } from './step-rules.ts';

/** What an entry may have for all instances to take it. */
const LARGEST_ENTRY = `a key may have ${MAX_KEY_BYTES} bytes, a value ${MAX_ENTRY_BYTES / 1024 ** 2} MiB`;

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

/**
 * What an operator has to know about a database, each with what to do: the name of its check, what it becomes once it has
 * lasted for the error duration, and its text while it is so. What keeps a database from sending or receiving becomes an
 * error, and `/healthz` 503; all others stay warnings.
 */
const CONDITIONS: readonly (readonly [
  name: string,
  becomes: Check['level'],
  text: (status: DatabaseStatus, nowMs: number) => string | undefined,
])[] = [
  ['map_full', 'error', mapFullText],
  ['lmdb_failed', 'error', (status) => (status.mapFull ? undefined : lmdbText(status))],
  ['unnamed_data', 'error', ({ unnamedData }) => unnamedData && unnamedDataText(unnamedData)],
  ['dbi_out_of_order', 'error', outOfOrderText],
  ['quarantined_objects', 'warning', quarantineText],
  ['object_too_large', 'error', tooLargeText],
  ['max_dbs', 'error', maxDbsText],
  [
    'clock_behind',
    'warning',
    ({ regressions }, nowMs) =>
      recent(regressions, nowMs)
        ? `${regressions.total} local changes were older than what they replaced and were put back: set the clock of this host, or of the application's container`
        : undefined,
  ],
  [
    'clock_skew',
    'warning',
    ({ futureEntries }, nowMs) =>
      recent(futureEntries, nowMs)
        ? `${futureEntries.total} entries have a time in the future: check the clocks of all hosts; such entries win until that time has come`
        : undefined,
  ],
  [
    'lmdb_read_whole',
    'warning',
    ({ rescans }, nowMs) =>
      recent(rescans, nowMs)
        ? `${rescans.total} looks had to read the whole LMDB instead of what changed: ${rescans.reason}; let no program write it without locks, and check the disk`
        : undefined,
  ],
  [
    'invalid_values',
    'warning',
    ({ invalidValues }) =>
      invalidValues > 0
        ? `${invalidValues} local values have no valid header and are not sent: the application does not use the native schema, see schema_tracks_changes`
        : undefined,
  ],
  ['entries_left_out', 'warning', leftOutText],
  ['received_entries_left_out', 'warning', receivedLeftOutText],
  ['rejoin_pending', 'warning', rejoinText],
  [
    'instance_name_shared',
    'warning',
    ({ sharedName }) =>
      sharedName.length > 0
        ? `another agent uses this instance name (${sharedName.join(', ')}): give each agent a name of its own`
        : undefined,
  ],
];

/** The loops of an engine; each can be due without making progress. */
const LOOPS = ['publish', 'send', 'receive', 'persist', 'clean', 'sweep', 'lmdb'] as const;

/** Every check that a database can have, without the database's name. */
export const DATABASE_CHECKS: readonly string[] = [
  ...ANY_STEPS.flatMap((step) => STEP_RULES[step].check ?? []),
  ...LOOPS.map((loop) => `${loop}_stalled`),
  ...CONDITIONS.map(([name]) => name),
  'startup_in_progress',
];

/**
 * The conditions of all databases as checks: warnings at first, and what becomes an error one once it has been seen for
 * `errorAfterMs`.
 */
export class Conditions {
  readonly #errorAfterMs: number;
  readonly #sinceMs = new Map<string, number>();

  constructor(errorAfterMs: number) {
    this.#errorAfterMs = errorAfterMs;
  }

  /** Asked again and again, it learns for how long each has lasted. */
  checks(status: DatabaseStatus, nowMs: number): Check[] {
    return CONDITIONS.flatMap(([condition, becomes, text]) => {
      const name = `${status.name}_${condition}`;
      const message = text(status, nowMs);
      if (message === undefined) {
        this.#sinceMs.delete(name);
        return [];
      }
      const sinceMs = this.#sinceMs.get(name) ?? nowMs;
      this.#sinceMs.set(name, sinceMs);
      const isOver = nowMs - sinceMs >= this.#errorAfterMs;
      return [{ name, level: isOver ? becomes : 'warning', message }];
    });
  }
}

/** The conditions as they are at their first look. */
export function conditionChecks(status: DatabaseStatus, nowMs: number): Check[] {
  return new Conditions(Number.POSITIVE_INFINITY).checks(status, nowMs);
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

function tooLargeText({ refused: [first, ...others] }: DatabaseStatus): string | undefined {
  if (first === undefined) {
    return undefined;
  }
  const what = others.length === 0 ? 'an object has' : `${others.length + 1} objects have`;
  return `${what} no room in the LMDB map, the first is ${first.name} (${first.error}): enlarge the map size in the application (PowerDNS: lmdb-map-size) and restart it; the agent then merges what it has left out`;
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
