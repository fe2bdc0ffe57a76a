import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { compact as compactDatabase } from '../../../compaction/compact.ts';
import { DEFAULT_POLICY, type CompactionPolicy } from '../../../compaction/policy.ts';
import type { CompactionReport } from '../../../compaction/report.ts';
import { errorText, SyncError } from '../../../protocol/errors.ts';
import type { ObjectStore } from '../../../storage/object-store.ts';
import { ScratchFolder } from '../../../compaction/scratch/scratch-folder.ts';
import { formatGoDuration } from '../../../protocol/time.ts';
import type { Config, StorageConfig } from '../../config/config.ts';
import { selectDatabases } from '../../config/select-databases.ts';
import { openObjectStore } from '../../open-store.ts';
import { formatBytes } from '../../log/output-format.ts';
import { Progress } from './progress.ts';
import type { CommandContext } from './context.ts';

export type CompactFlags = {
  readonly onlyDb: readonly string[];
  readonly dryRun: boolean;
  readonly json: boolean;
};

const DAY_MS = 24 * 60 * 60 * 1000;
/** Part of `--timeout` that is kept for ending cleanly. */
const MARGIN_SHARE = 0.1;
const LONGEST_MARGIN_MS = 10_000;

/**
 * `compact`: folds what agents have stored into the base of each database, and deletes what it covers. One database
 * after the other; the failure of one does not keep the others waiting.
 *
 * Errors: USAGE for an unknown database; the first failure after all databases had their turn.
 */
export async function compact(context: CommandContext, flags: CompactFlags): Promise<void> {
  const { config, signal } = context;
  const databases = selectDatabases(config, flags.onlyDb).map(([name]) => name);
  const deadlineMs = deadlineOf(context.flags.timeout);
  const store = await openObjectStore(storageFor(config.storage, flags), { signal });
  try {
    const failures: SyncError[] = [];
    for (const database of databases) {
      try {
        const report = await compactOne(context, { store, database, deadlineMs, flags });
        context.out.write(flags.json ? reportJson(report) : reportText(report));
        failures.push(...problemsOf(report));
      } catch (error) {
        if (signal.aborted || !(error instanceof SyncError)) {
          throw error;
        }
        context.log.error({ db: database, error: errorText(error) }, 'compaction failed');
        failures.push(error);
      }
      await context.out.drain();
    }
    const [first] = failures;
    if (first !== undefined) {
      throw first;
    }
  } finally {
    await store.close();
  }
}

/** A dry run must not make a bucket either. */
function storageFor(storage: StorageConfig, { dryRun }: CompactFlags): StorageConfig {
  const { options } = storage;
  if (!dryRun || options instanceof SyncError) {
    return storage;
  }
  switch (options.type) {
    case 's3':
      return { ...storage, options: { ...options, createBucket: false } };
    case 'azure':
      return { ...storage, options: { ...options, createContainer: false } };
    default:
      return storage;
  }
}

function deadlineOf(timeoutMs: number): number | undefined {
  if (timeoutMs <= 0) {
    return undefined;
  }
  return performance.now() + timeoutMs - Math.min(timeoutMs * MARGIN_SHARE, LONGEST_MARGIN_MS);
}

async function compactOne(
  context: CommandContext,
  what: {
    store: ObjectStore;
    database: string;
    deadlineMs: number | undefined;
    flags: CompactFlags;
  },
): Promise<CompactionReport> {
  const { deps, config, signal } = context;
  const { store, database, deadlineMs, flags } = what;
  using progress = new Progress(deps.terminal, {
    label: `compacting ${database}, read`,
    unit: 'bytes',
  });
  const scratch = await ScratchFolder.open(config.spoolFolder || tmpdir());
  try {
    return await compactDatabase({
      store: countingReads(store, progress),
      database,
      scratch,
      policy: policyOf(config),
      signal,
      nowNs: () => BigInt(deps.now()) * 1_000_000n,
      monotonicMs: () => performance.now(),
      deadlineMs,
      random: randomBytes,
      writer: `lightningstream ${deps.version}`,
      dryRun: flags.dryRun,
    });
  } finally {
    await scratch.close();
  }
}

/** The store, with the bytes of every object that is read counted. */
function countingReads(store: ObjectStore, progress: Progress): ObjectStore {
  return new Proxy(store, {
    get: (target, key) => {
      if (key === 'get') {
        return async (...args: Parameters<ObjectStore['get']>) => {
          const found = await target.get(...args);
          return found && { ...found, body: progress.count(found.body) };
        };
      }
      const member: unknown = Reflect.get(target, key);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

/** What the agents' configuration says about cleaning holds for the compactor, too. */
function policyOf({ storage, sweeper, upstreamReaders }: Config): CompactionPolicy {
  return {
    ...DEFAULT_POLICY,
    mustKeepMs: storage.cleanup.mustKeepIntervalMs,
    tombstoneRetentionMs: sweeper.enabled ? sweeper.retentionDays * DAY_MS : undefined,
    upstreamReads: upstreamReaders,
  };
}

/** What did not work although the run ended by itself. */
function* problemsOf(report: CompactionReport): Generator<SyncError> {
  const { database, outcome, failedDeletes } = report;
  if (outcome === 'out-of-time') {
    const { largestLeft } = report;
    const largest = largestLeft && `, the largest that waits is ${largestLeft}`;
    yield new SyncError(
      'TIMED_OUT',
      `no object of ${database} was folded in time${largest ?? ''}`,
      {
        hint: 'Give it more time with --timeout: the largest object must fit into one run.',
      },
    );
  }
  if (outcome === 'unknown') {
    yield new SyncError(
      'STORAGE_FAILED',
      `the storage did not say whether it took the manifest of ${database}; nothing was deleted`,
      { hint: 'Run it again.', retryable: true },
    );
  }
  if (failedDeletes > 0) {
    yield new SyncError(
      'STORAGE_DENIED',
      `${failedDeletes} objects of ${database} stay undeleted`,
      {
        hint: 'Allow s3:DeleteObject on the names under global_prefix (or writing in the folder).',
      },
    );
  }
}

function reportText(report: CompactionReport): string {
  const { database, unreadable, deleted, leftObjects, lagMs } = report;
  const dry = report.outcome === 'planned';
  const lines = [
    outcomeText(report),
    `${dry ? 'would fold' : 'folded'} ${report.foldedObjects} of ${report.listedObjects} objects (${formatBytes(report.foldedBytes)}), ${dry ? 'would delete' : 'deleted'} ${deleted.length}`,
    ...(report.lostBase === undefined
      ? []
      : [`${report.lostBase} is missing or damaged: what is listed becomes a new base`]),
    ...report.setAside.map((name) => `${name} came back after tombstones were dropped, it stays`),
    ...unreadable.map(({ name, reason }) => `cannot read ${name}, it stays: ${reason}`),
    ...deleted.map((name) => `${dry ? 'would delete' : 'deleted'} ${name}`),
  ];
  if (report.baseWaits) {
    lines.push('a base is due and did not fit: give it more time (--timeout) or temporary disk');
  }
  if (leftObjects > 0 && !dry) {
    const age = formatGoDuration(Math.round(lagMs / 1000) * 1000);
    lines.push(`${leftObjects} objects are not covered yet, the oldest is ${age} old`);
  }
  return lines.map((line) => `${database}: ${line}\n`).join('');
}

const LEVELS = { base: 'a base', level1: 'a level-1 delta', none: 'nothing' } as const;

function outcomeText(report: CompactionReport): string {
  const { outcome, level, entries, tombstones, written, writtenBytes } = report;
  const state = `${entries} entries (${tombstones} deleted)`;
  switch (outcome) {
    case 'published':
      return written === undefined
        ? `published, ${state}; no new objects`
        : `published ${LEVELS[level]}, ${formatBytes(writtenBytes)}: ${written}; ${state}`;
    case 'nothing':
      return 'nothing to fold';
    case 'planned':
      return level === 'none'
        ? 'nothing to fold'
        : `would publish ${LEVELS[level]}, ${formatBytes(writtenBytes)}; ${state}`;
    case 'lost':
      return 'another compactor was first';
    case 'unknown':
      return 'the storage gave no clear answer; nothing was deleted';
    case 'out-of-time':
      return 'out of time; nothing was changed';
    default:
      return outcome satisfies never;
  }
}

function reportJson(report: CompactionReport): string {
  return `${JSON.stringify({
    database: report.database,
    outcome: report.outcome,
    level: report.level,
    listed_objects: report.listedObjects,
    folded_objects: report.foldedObjects,
    folded_bytes: report.foldedBytes,
    unreadable: report.unreadable,
    set_aside: report.setAside,
    lost_base: report.lostBase ?? null,
    written: report.written ?? null,
    written_bytes: report.writtenBytes,
    entries: report.entries,
    tombstones: report.tombstones,
    deleted: report.deleted,
    failed_deletes: report.failedDeletes,
    base_waits: report.baseWaits,
    largest_left: report.largestLeft ?? null,
    left_objects: report.leftObjects,
    lag_ms: report.lagMs,
  })}\n`;
}
