import { MAX_ENTRY_BYTES, MAX_KEY_BYTES } from '../../protocol/limits.ts';
import { parseObjectName } from '../../protocol/object-name.ts';
import type { Check } from '../watchdog/health-check.ts';
import type { RefusedDbi } from '../lmdb/local-database.ts';
import { shownName, type DatabaseStatus, type Occurrences } from './status.ts';
import { ANY_STEPS, STEP_RULES } from './step-rules.ts';

/** What an entry may have for all instances to take it. */
const LARGEST_ENTRY = `a key may have ${MAX_KEY_BYTES} bytes, a value ${MAX_ENTRY_BYTES / 1024 ** 2} MiB`;

/** A regression or a time in the future is reported for this long after it was last seen. */
const RECENT_MS = 3_600_000;
/** More DBIs than this are only counted in a message. */
const MAX_NAMED_DBIS = 5;

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
  ['other_schema_mode', 'warning', (status) => schemaModeText(status, 'some')],
  ['wrong_schema_mode', 'error', (status) => schemaModeText(status, 'all')],
  ['schema_upgrade_held', 'warning', heldSchemaText],
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

/** Why a DBI is left alone, and what to do. */
export function refusedText({ name, what, cause }: RefusedDbi): string {
  const where = `${what} of ${shownName(name)} are`;
  return cause === 'damage'
    ? `${where} out of order: stop both, move the LMDB away, start: it is filled from the bucket`
    : `${where} in an order of the application's own, so nothing of it is synced: let the application use LMDB's order there, or take the LMDB out of lmdbs`;
}

/** Why nothing is written into an LMDB, and what to do. `found`: the end of a sentence, from a look at it. */
export function unnamedDataText(found: string): string {
  return `the main database ${found}: nothing is written into this LMDB until it holds named databases alone again`;
}

function quarantineText(status: DatabaseStatus): string | undefined {
  const damaged = status.quarantined.filter(
    ({ exceedsDbis = false, otherMode = false }) => !exceedsDbis && !otherMode,
  );
  const [first] = damaged;
  return first === undefined
    ? undefined
    : `${damaged.length} damaged objects are left out, the first is ${first.name} (${first.error}): remove them with "snapshots remove" once their instance has stored a newer full snapshot`;
}

/**
 * A host that all others contradict gets nothing from anybody, and is most likely the one that is wrong. Where some
 * contradict, this one goes on with the rest: a wrong host must not make the right ones unhealthy.
 */
function schemaModeText(status: DatabaseStatus, whose: 'all' | 'some'): string | undefined {
  const others = status.quarantined.filter(({ otherMode }) => otherMode === true);
  const [first] = others;
  if (first === undefined) {
    return undefined;
  }
  const writers = new Set<string | undefined>(
    others.map(({ name }) => parseObjectName(name)?.instance),
  );
  const isAlone = status.instances.every(({ instance }) => writers.has(instance));
  if (isAlone !== (whose === 'all')) {
    return undefined;
  }
  const who = isAlone ? 'all other instances write' : `${[...writers].join(', ')} writes`;
  return `${who} in another schema mode, and such objects are left out (${others.length}), the first is ${first.name} (${first.error}): set schema_tracks_changes to what fits the application, the same on all hosts`;
}

function heldSchemaText({ heldSchema }: DatabaseStatus): string | undefined {
  return heldSchema === undefined
    ? undefined
    : `schema version ${heldSchema.version} of PowerDNS came in and is held back, this host has ${heldSchema.localVersion}: upgrade PowerDNS here, or set allow_schema_upgrade`;
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
    `${counted(leftOut.entries, 'received entry is', 'received entries are')} nothing that this LMDB can hold, and not merged, the first is ${leftOut.first} in ${leftOut.object}: ${LARGEST_ENTRY}, and keys of a DBI of integers have the size of one; shorten or rename them in the application that wrote them`
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
