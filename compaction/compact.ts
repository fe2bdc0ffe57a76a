import {
  COMPACTED_INSTANCE,
  databasePrefix,
  formatObjectName,
  newRun,
  parseObjectName,
  probePrefix,
} from '../protocol/object-name.ts';
import { SyncError } from '../protocol/errors.ts';
import type { TimestampNs } from '../protocol/time.ts';
import { EMPTY_VECTOR } from '../protocol/version-vector.ts';
import { findDamagedPart, findMissingPart, isStillPublished } from './lost-base.ts';
import { requireConditionalWrites } from './conditional-writes.ts';
import { type DeleteInput, deletable } from './delete-rule.ts';
import type { Gathered } from './gather.ts';
import {
  CONDITION_PROOF_MS,
  FOLD_BYTES_PER_SECOND,
  LISTED_OBJECTS_MAX,
  PROBE_LEFT_MS,
} from './limits.ts';
import { ListingSorter, type SortedListing, instanceObjects } from './listing.ts';
import { type Publication, type StoredState, publishState, readState } from './manifest-store.ts';
import { type StateObjects, nextState, pruneStreams, upkeepChanged } from './next-state.ts';
import { type FoldLevel, type TailPlan, chooseLevel, planTail } from './plan.ts';
import { type Removal, removeObjects } from './remove.ts';
import { type CompactionReport, makeReport } from './report.ts';
import { UnwrittenStore } from '../storage/unwritten-store.ts';
import { type CompactOptions, OutOfTimeError, checkTime, timeLeftMs } from './run-context.ts';
import type { PublishedState } from './upkeep.ts';
import { type WrittenState, fileBody, writeState } from './write-state.ts';

/** What one run begins with. */
type RunStart = {
  readonly run: CompactOptions;
  readonly nowNs: TimestampNs;
  readonly listing: SortedListing;
  /** What the run builds on; undefined: it begins from nothing. */
  readonly before: StoredState | undefined;
  /** The manifest in the bucket; without `before` one that names objects which are lost. */
  readonly replaced: StoredState | undefined;
  /** The published object that is lost, if one is. */
  readonly lost: string | undefined;
  readonly tail: TailPlan;
  readonly level: FoldLevel;
  readonly sizes: ReadonlyMap<string, number>;
  /** When conditional writes were proven on this storage: in this run, or not long before. 0 in a dry run. */
  readonly conditionsProvenNs: bigint;
};

/**
 * Folds what agents have stored into the base of a database: lists, reads the manifest, merges, stores, publishes, deletes.
 *
 * Safe to run any number of times, at the same time too, and to kill at any point: the bucket always describes at least
 * the state that it described before. What a run does follows what is new, not the size of the base, unless a base is due.
 *
 * Errors: MESSAGE_INVALID (the manifest), SNAPSHOT_CORRUPT (the base), those of the store; an abort.
 */
export async function compact(run: CompactOptions): Promise<CompactionReport> {
  if (run.dryRun !== true) {
    return compactFor(run);
  }
  const report = await compactFor({ ...run, store: new UnwrittenStore(run.store) });
  const isPlan = report.outcome === 'published' || report.outcome === 'nothing';
  return isPlan ? { ...report, outcome: 'planned', written: undefined } : report;
}

async function compactFor(run: CompactOptions): Promise<CompactionReport> {
  const nowNs = run.nowNs();
  // The listing first: what it shows and the manifest covers was in a base before this run looked.
  const { listing, probes } = await list(run);
  const replaced = await readState(run.store, run.database, run.signal);
  const lost = replaced && (await findMissingPart(run, { listing, stored: replaced }));
  const before = lost === undefined ? replaced : undefined;
  const conditionsProvenNs = replaced?.upkeep.conditionsProvenNs ?? 0n;
  const start = plan({ run, nowNs, listing, before, replaced, lost, conditionsProvenNs });
  if (run.dryRun === true) {
    // It would prove nothing: what it stores is not stored.
    return execute(start);
  }
  return execute({ ...start, conditionsProvenNs: await proveConditions(start, probes) });
}

/** Before anything is written or deleted; once a day, because storages and proxies are exchanged. */
async function proveConditions(start: RunStart, probes: readonly string[]): Promise<bigint> {
  const { run, nowNs, listing, replaced, conditionsProvenNs } = start;
  const published = replaced === undefined ? 0 : 1 + replaced.manifest.level1.length;
  const listed = [...instanceObjects(listing)].length + listing.compacted.length;
  const isIdle = start.level === 'none' && listed <= published;
  const sinceMs = Number((nowNs - conditionsProvenNs) / 1_000_000n);
  if (isIdle || (sinceMs >= 0 && sinceMs < CONDITION_PROOF_MS)) {
    return conditionsProvenNs;
  }
  await requireConditionalWrites(run);
  // What killed runs left.
  for (const name of probes) {
    await run.store.delete(name, run.signal).catch(() => undefined);
  }
  return nowNs;
}

/** The objects of a database, and the names of what proofs of conditional writes have left. */
async function list(
  run: CompactOptions,
): Promise<{ readonly listing: SortedListing; readonly probes: readonly string[] }> {
  const { store, database, signal } = run;
  const sorter = new ListingSorter(database);
  const probes: string[] = [];
  let count = 0;
  let truncated = false;
  for await (const info of store.list(databasePrefix(database), { signal })) {
    truncated = count >= LISTED_OBJECTS_MAX;
    if (truncated) {
      break;
    }
    count += 1;
    if (info.name.startsWith(probePrefix(database))) {
      // A younger one may be that of a run that is under way.
      if (info.lastModifiedMs < Number(run.nowNs() / 1_000_000n) - PROBE_LEFT_MS) {
        probes.push(info.name);
      }
    } else {
      sorter.add(info);
    }
  }
  return { listing: sorter.finish(truncated), probes };
}

function plan(input: Omit<RunStart, 'tail' | 'level' | 'sizes'>): RunStart {
  const { run, nowNs, listing, before } = input;
  const sizes = new Map(listing.compacted.map(({ name, sizeBytes }) => [name, sizeBytes]));
  const tail = planTail(listing, before?.manifest, run.policy);
  const level1 = before?.manifest.level1 ?? [];
  const level = chooseLevel({
    manifest: before?.manifest,
    tailBytes: tail.bytes,
    baseBytes: sizes.get(before?.manifest.base ?? '') ?? 0,
    level1Bytes: level1.map((name) => sizes.get(name) ?? 0),
    nowNs,
    policy: run.policy,
  });
  return { ...input, tail, sizes, level: levelInTime(level, { run, before, tail, sizes }) };
}

/** A base that does not fit into the time left waits: what is new goes into a level-1 delta. */
function levelInTime(
  level: FoldLevel,
  start: Pick<RunStart, 'run' | 'before' | 'tail' | 'sizes'>,
): FoldLevel {
  const { run, before, tail, sizes } = start;
  if (level !== 'base' || before === undefined || tail.bytes === 0) {
    return level;
  }
  const { base, level1 } = before.manifest;
  const bytes = [base, ...level1].reduce((sum, name) => sum + (sizes.get(name) ?? 0), tail.bytes);
  return (bytes / FOLD_BYTES_PER_SECOND) * 1000 > timeLeftMs(run) ? 'level1' : level;
}

async function execute(start: RunStart): Promise<CompactionReport> {
  const { level, before } = start;
  const vector = before?.manifest.vector ?? EMPTY_VECTOR;
  try {
    const result = level === 'none' ? undefined : await writeState({ ...start, level });
    return result?.objects === undefined
      ? await finishWithoutState(start, result?.gathered)
      : await finishWithState(start, result);
  } catch (error) {
    if (error instanceof OutOfTimeError) {
      return makeReport({ ...start, outcome: 'out-of-time', vector });
    }
    return await executeWithoutBase(start, error);
  }
}

/** Where an error says that a published object is lost, what is listed becomes a base of its own; else it is thrown. */
async function executeWithoutBase(start: RunStart, error: unknown): Promise<CompactionReport> {
  const { run, before } = start;
  const isDamage = error instanceof SyncError && error.code === 'SNAPSHOT_CORRUPT';
  if (before === undefined || !isDamage) {
    throw error;
  }
  const lost = await findDamagedPart(run, before);
  if (lost === undefined || !(await isStillPublished(run, before))) {
    throw error;
  }
  return execute(plan({ ...start, before: undefined, lost }));
}

/** Nothing to fold: notes are kept up, and what is due is deleted. */
async function finishWithoutState(
  start: RunStart,
  gathered: Gathered | undefined,
): Promise<CompactionReport> {
  const { before } = start;
  if (before === undefined) {
    return makeReport({
      ...start,
      level: 'none',
      outcome: 'nothing',
      vector: EMPTY_VECTOR,
      gathered,
    });
  }
  const { version: _version, id: _id, database: _database, ...objects } = before.manifest;
  const { vector, assumed = new Set() } = before.manifest;
  const pruned = pruneStreams({ vector, assumed }, start);
  const next = makeNext(start, { ...objects, ...pruned });
  if (!upkeepChanged(before, next)) {
    const removal = await remove(start, before, { ownPublication: false, copied: false });
    return makeReport({
      ...start,
      level: 'none',
      outcome: 'nothing',
      vector: pruned.vector,
      gathered,
      removal,
    });
  }
  const publication = await publish(start, next);
  return conclude(start, { publication, next, gathered, level: 'none' });
}

async function finishWithState(start: RunStart, written: WrittenState): Promise<CompactionReport> {
  checkTime(start.run);
  // The time of the publication, not of the run's beginning: must_keep is counted from it.
  const next = makeNext(start, { ...written.objects, publishedAtNs: start.run.nowNs() });
  const publication = await publish(start, next);
  const copied = publication === 'published' && (await copyForUpstream(start, written));
  const { gathered } = written;
  return conclude(start, { publication, next, gathered, level: start.level, written, copied });
}

type Conclusion = {
  readonly publication: Publication;
  readonly next: PublishedState;
  readonly gathered: Gathered | undefined;
  readonly level: FoldLevel;
  readonly written?: WrittenState | undefined;
  readonly copied?: boolean | undefined;
};

async function conclude(start: RunStart, conclusion: Conclusion): Promise<CompactionReport> {
  const { publication, next, gathered, written, level, copied = false } = conclusion;
  const stands = publication === 'published' || publication === 'confirmed';
  // Nothing is deleted after an answer that was not clear: see the delete rule.
  const removal =
    publication === 'published'
      ? await remove(start, next, { ownPublication: true, copied })
      : undefined;
  return makeReport({
    ...start,
    level,
    outcome: stands ? 'published' : publication,
    vector: stands ? next.manifest.vector : (start.before?.manifest.vector ?? EMPTY_VECTOR),
    state: stands ? next.manifest : undefined,
    gathered,
    written,
    removal,
  });
}

function makeNext(start: RunStart, objects: StateObjects): PublishedState {
  const { run, before, replaced, listing, conditionsProvenNs } = start;
  const { database, policy } = run;
  return nextState({
    before,
    replaced,
    objects,
    listing,
    database,
    id: newRun(run.random),
    nowNs: run.nowNs(),
    policy,
    conditionsProvenNs,
  });
}

function publish(start: RunStart, next: PublishedState): Promise<Publication> {
  const { run, replaced } = start;
  return publishState(run.store, next, { before: replaced, signal: run.signal });
}

function remove(
  start: RunStart,
  published: PublishedState,
  done: Pick<DeleteInput, 'ownPublication' | 'copied'>,
): Promise<Removal> {
  const { listing, before, run } = start;
  const { policy } = run;
  const nowNs = run.nowNs();
  const objects = deletable({ listing, before, published, nowNs, policy, ...done });
  return removeObjects(objects, run);
}

/** A full snapshot with the base's bytes, which upstream's readers understand. Nothing of ours depends on it. */
async function copyForUpstream(start: RunStart, written: WrittenState): Promise<boolean> {
  const { run } = start;
  const name = parseObjectName(written.name);
  const isBase = written.objects.base === written.name;
  if (!run.policy.upstreamReads || !isBase || name === undefined) {
    return false;
  }
  const { database, timeNs, seq } = name;
  const generation = name.generation.slice(1);
  const copy = formatObjectName({
    database,
    instance: COMPACTED_INSTANCE,
    timeNs,
    run: generation,
    seq,
    kind: 'snapshot',
  });
  await run.store.create(copy, fileBody(written.file), run.signal);
  return true;
}
