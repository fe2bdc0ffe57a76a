import {
  COMPACTED_INSTANCE,
  databasePrefix,
  formatObjectName,
  newRun,
  parseObjectName,
  probePrefix,
} from '../protocol/object-name.ts';
import { SyncError } from '../protocol/errors.ts';
import { EMPTY_VECTOR, type VersionVector } from '../protocol/version-vector.ts';
import { findDamagedPart, findMissingPart, isStillPublished, readableParts } from './lost-base.ts';
import { Claims } from './claims.ts';
import { requireConditionalWrites } from './conditional-writes.ts';
import { type DeleteInput, deletable } from './delete-rule.ts';
import type { Gathered } from './gather.ts';
import { CONDITION_PROOF_MS, LISTED_OBJECTS_MAX, PROBE_LEFT_MS, SPOOL_SHARE } from './limits.ts';
import { ListingSorter, type SortedListing, afterStep, instanceObjects } from './listing.ts';
import { type Publication, publishState, readState } from './manifest-store.ts';
import { type StateObjects, nextState, pruneStreams, upkeepChanged } from './next-state.ts';
import { Pace } from './pace.ts';
import type { FoldLevel } from './plan.ts';
import { type Removal, removeObjects } from './remove.ts';
import { type CompactionReport, joinReports, makeReport } from './report.ts';
import { UnwrittenStore } from '../storage/unwritten-store.ts';
import { type CompactOptions, OutOfTimeError, timeLeftMs } from './run-context.ts';
import { StepScratch } from './scratch/step-scratch.ts';
import { type StepStart, planStep } from './step.ts';
import type { PublishedState } from './upkeep.ts';
import { type Postponed, whyTooMuch } from './shapes.ts';
import { type WrittenState, fileBody, writeState } from './write-state.ts';

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
  const world = { run, nowNs, listing, before, replaced, lost, conditionsProvenNs };
  const start = planStep(world, new Pace(run));
  if (run.dryRun === true) {
    // It would prove nothing: what it stores is not stored.
    return execute(start);
  }
  return execute({ ...start, conditionsProvenNs: await proveConditions(start, probes) });
}

/** Before anything is written or deleted; once a day, because storages and proxies are exchanged. */
async function proveConditions(start: StepStart, probes: readonly string[]): Promise<bigint> {
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

/** Steps, as long as there is something left to read and time to read it: each of them publishes what it has folded. */
async function execute(first: StepStart): Promise<CompactionReport> {
  let { report, next } = await executeStep(first);
  while (next !== undefined) {
    const step = await executeStep(next);
    report = joinReports(report, step.report);
    next = step.next;
  }
  return report;
}

type StepResult = {
  readonly report: CompactionReport;
  /** What the next step begins with; undefined: this was the last one. */
  readonly next: StepStart | undefined;
};

async function executeStep(start: StepStart): Promise<StepResult> {
  const { level, before, run } = start;
  const scratch = new StepScratch(run.scratch);
  const room = SPOOL_SHARE * (await scratch.freeBytes());
  const policy = { ...run.policy, spoolBytesMax: Math.min(run.policy.spoolBytesMax, room) };
  const step = { ...start, run: { ...run, scratch, policy } };
  try {
    const result = level === 'none' ? undefined : await write(step, level);
    if (result?.objects === undefined) {
      const report = await finishWithoutState(step, { gathered: result?.gathered });
      return { report, next: start.isDeferred ? await nextStep(start, { report }) : undefined };
    }
    const report = await finishWithState(step, result);
    return { report, next: await nextStep(start, { report, written: result }) };
  } catch (error) {
    const why = whyTooMuch(error, run);
    if (why !== undefined && level === 'base' && before !== undefined && start.tail.bytes === 0) {
      // There was nothing else to fold: what is due is deleted all the same.
      const postponed = { why, timeMs: start.timeMs };
      return { report: await finishWithoutState(step, { postponed }), next: undefined };
    }
    if (error instanceof OutOfTimeError) {
      const vector = vectorOf(before);
      return { report: makeReport({ ...start, outcome: 'out-of-time', vector }), next: undefined };
    }
    return await executeWithoutBase(start, error);
  } finally {
    await scratch.clear();
  }
}

async function write(
  step: StepStart,
  level: Exclude<FoldLevel, 'none'>,
): ReturnType<typeof writeState> {
  const { run, lost, replaced } = step;
  const isRebuilt = lost !== undefined && replaced !== undefined;
  const salvaged = isRebuilt ? await readableParts(run, replaced) : [];
  return writeState({ ...step, level, salvaged });
}

/** What comes after a step; undefined if nothing is left, or no time. */
async function nextStep(
  start: StepStart,
  done: { readonly report: CompactionReport; readonly written?: WrittenState },
): Promise<StepStart | undefined> {
  const { run, pace, isDeferred } = start;
  const { report, written } = done;
  const isOver = report.outcome !== 'published' && report.outcome !== 'nothing';
  if (isOver || run.dryRun === true || timeLeftMs(run) <= 0) {
    return undefined;
  }
  if (!isDeferred && written?.isCut !== true) {
    return undefined;
  }
  const published = await readState(run.store, run.database, run.signal);
  if (written !== undefined) {
    pace.learn(written);
    const { base, level1 } = published?.manifest ?? {};
    if (base !== written.name && level1?.includes(written.name) !== true) {
      // Somebody else has published since.
      return undefined;
    }
  }
  const listing = afterStep(start.listing, report, Number(run.nowNs() / 1_000_000n));
  // What was large waits only as long as something else can be folded.
  const mayDefer = isDeferred && written?.isCut === true;
  const before = published;
  return planStep(
    { ...start, listing, before, replaced: published, lost: undefined },
    pace,
    mayDefer,
  );
}

/** Where an error says that a published object is lost, what is listed becomes a base of its own; else it is thrown. */
async function executeWithoutBase(start: StepStart, error: unknown): Promise<StepResult> {
  const { run, before } = start;
  const isDamage = error instanceof SyncError && error.code === 'SNAPSHOT_CORRUPT';
  if (before === undefined || !isDamage) {
    throw error;
  }
  const lost = await findDamagedPart(run, before);
  if (lost === undefined || !(await isStillPublished(run, before))) {
    throw error;
  }
  return executeStep(planStep({ ...start, before: undefined, lost }, start.pace));
}

/** Nothing to fold: notes are kept up, and what is due is deleted. */
async function finishWithoutState(
  start: StepStart,
  {
    gathered,
    postponed,
  }: { readonly gathered?: Gathered | undefined; readonly postponed?: Postponed },
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
  const claims = new Claims(before.manifest);
  for (const snapshot of start.tail.marked) {
    claims.passOver(snapshot);
  }
  const pruned = pruneStreams(claims.state, start);
  const next = makeNext(start, { ...objects, ...pruned }, { postponed });
  if (postponed?.why !== 'time' && !upkeepChanged(before, next)) {
    const removal = await remove(start, before, { ownPublication: false, copied: false });
    return makeReport({
      ...start,
      level: 'none',
      outcome: 'nothing',
      vector: pruned.vector,
      gathered,
      removal,
      baseWaits: start.baseWaits || postponed !== undefined,
    });
  }
  const publication = await publish(start, next);
  return conclude(start, { publication, next, gathered, level: 'none', postponed });
}

async function finishWithState(start: StepStart, written: WrittenState): Promise<CompactionReport> {
  // The time of the publication, not of the run's beginning: must_keep is counted from it.
  const objects = { ...written.objects, publishedAtNs: start.run.nowNs() };
  const next = makeNext(start, objects, written);
  const publication = await publish(start, next);
  const copied = publication === 'published' && (await copyForUpstream(start, written));
  return conclude(start, { publication, next, ...written, written, copied });
}

type Conclusion = {
  readonly publication: Publication;
  readonly next: PublishedState;
  readonly gathered: Gathered | undefined;
  readonly level: FoldLevel;
  readonly written?: WrittenState | undefined;
  readonly copied?: boolean | undefined;
  readonly postponed?: Postponed | undefined;
};

async function conclude(start: StepStart, conclusion: Conclusion): Promise<CompactionReport> {
  const { publication, next, gathered, written, level, copied = false, postponed } = conclusion;
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
    vector: stands ? next.manifest.vector : vectorOf(start.before),
    state: stands ? next.manifest : undefined,
    gathered,
    written,
    removal,
    baseWaits: start.baseWaits || postponed !== undefined,
  });
}

function makeNext(
  start: StepStart,
  objects: StateObjects,
  { level, postponed }: Partial<Pick<WrittenState, 'level' | 'postponed'>>,
): PublishedState {
  const { run, before, replaced, listing, conditionsProvenNs } = start;
  const { database, policy } = run;
  const { manifest, upkeep } = nextState({
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
  const known = level === 'base' ? undefined : before?.upkeep.baseTooLong;
  const baseTooLong =
    postponed?.why === 'time' ? { timeMs: postponed.timeMs, atNs: run.nowNs() } : known;
  return { manifest, upkeep: { ...upkeep, baseTooLong } };
}

function publish(start: StepStart, next: PublishedState): Promise<Publication> {
  const { run, replaced } = start;
  return publishState(run.store, next, { before: replaced, signal: run.signal });
}

function remove(
  start: StepStart,
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
async function copyForUpstream(start: StepStart, written: WrittenState): Promise<boolean> {
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
  await run.store.create(copy, fileBody(written.file, run), run.signal);
  return true;
}

function vectorOf(state: PublishedState | undefined): VersionVector {
  return state?.manifest.vector ?? EMPTY_VECTOR;
}
