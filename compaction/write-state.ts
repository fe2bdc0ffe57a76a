import { SyncError } from '../protocol/errors.ts';
import {
  COMPACTED_INSTANCE,
  formatObjectName,
  newRun,
  parseObjectName,
} from '../protocol/object-name.ts';
import type { SnapshotMeta } from '../protocol/snapshot.ts';
import type { ObjectBody } from '../storage/object-store.ts';
import { covers } from '../protocol/version-vector.ts';
import { Claims } from './claims.ts';
import { DbiTable } from './merge/dbi-table.ts';
import { fold } from './merge/fold.ts';
import { chooseFoldMode } from './fold-mode.ts';
import { type Gathered, Gatherer } from './gather.ts';
import { type StoredObject, newestSnapshots } from './listing.ts';
import { registerDbis } from './merge/load.ts';
import { type StateObjects, pruneStreams } from './next-state.ts';
import type { FoldLevel } from './plan.ts';
import { deadlineWithReserve } from './pace.ts';
import { spoolPublished } from './published-inputs.ts';
import { type CompactOptions, OutOfTimeError, checkTime } from './run-context.ts';
import type { ScratchFile } from './scratch/scratch.ts';
import { StepScratch } from './scratch/step-scratch.ts';
import {
  type Postponed,
  type Shape,
  type WriteInput,
  partsOf,
  requireSpace,
  shapesOf,
  whyTooMuch,
} from './shapes.ts';
import type { SnapshotFile } from './merge/snapshot-file.ts';

/** A new state whose objects are stored and not yet published. */
export type WrittenState = {
  readonly gathered: Gathered;
  readonly objects: Omit<StateObjects, 'publishedAtNs'>;
  /** What was written: less than was asked for where that did not fit. */
  readonly level: Exclude<FoldLevel, 'none'>;
  /** The new base or level-1 delta. */
  readonly name: string;
  readonly file: ScratchFile;
  /** A base was due and did not fit into the time, or the scratch space. */
  readonly postponed: Postponed | undefined;
  /** Objects that could be read were left for want of time or room. */
  readonly isCut: boolean;
  readonly gatherMs: number;
  readonly writeMs: number;
};

/** What gathering found when it did not lead to a new state. */
export type NothingNew = { readonly gathered: Gathered; readonly objects: undefined };

/** What was gathered, and where its DBIs are known. */
type Material = { readonly gathered: Gathered; readonly table: DbiTable };

/**
 * Reads what is new, merges it (into a base: with everything published so far) and stores the result. Where that does not
 * fit into the time or the scratch space, less is merged: what was read is kept in any case, as a level-1 delta of its own.
 *
 * Errors: SNAPSHOT_CORRUPT or SNAPSHOT_REJECTED if the published objects cannot be read; SPOOL_FAILED; those of the store;
 * OutOfTimeError.
 */
export async function writeState(input: WriteInput): Promise<WrittenState | NothingNew> {
  const { run } = input;
  try {
    return await attempt(input, new DbiTable());
  } catch (error) {
    if (!(error instanceof SyncError) || error.code !== 'SNAPSHOT_REJECTED') {
      throw error;
    }
  }
  // Something new does not fit the base. With the base's DBIs known beforehand, gathering shows what it is.
  const table = new DbiTable();
  const scratch = new StepScratch(run.scratch);
  for (const source of await spoolPublished(partsOf(input), { ...run, scratch })) {
    await registerDbis(source, { table, checkTime: () => checkTime(run) });
  }
  await scratch.clear();
  return attempt(input, table);
}

async function attempt(input: WriteInput, table: DbiTable): Promise<WrittenState | NothingNew> {
  const { run, level, tail } = input;
  const beganMs = run.monotonicMs();
  const { gathered, isCut } = await gather(input, table);
  const due = level === 'base' && tail.bytes === 0;
  if (gathered.claimed.length === 0 && !due) {
    return { gathered, objects: undefined };
  }
  const readMs = run.monotonicMs();
  const gatherMs = readMs - beganMs;
  const shapes = shapesOf(input, { gathered, isCut });
  let postponed: Postponed | undefined;
  for (const [at, shape] of shapes.entries()) {
    const isLast = at === shapes.length - 1;
    const deadlineMs = isLast ? run.deadlineMs : deadlineWithReserve(run, gatherMs);
    const scratch = new StepScratch(run.scratch);
    const shapeRun = { ...run, scratch, deadlineMs };
    try {
      await requireSpace({ ...input, run: shapeRun }, shape);
      const written = await write({ ...input, run: shapeRun }, { gathered, table, shape });
      const writeMs = run.monotonicMs() - readMs;
      return { ...written, gathered, postponed, isCut, gatherMs, writeMs };
    } catch (error) {
      run.signal.throwIfAborted();
      const why = whyTooMuch(error, shapeRun);
      if (why === undefined || isLast) {
        throw why === 'time' ? new OutOfTimeError() : error;
      }
      await scratch.clear();
      postponed ??= shape.level === 'base' ? { why, timeMs: input.timeMs } : undefined;
    }
  }
  throw new OutOfTimeError();
}

type Written = Pick<WrittenState, 'objects' | 'level' | 'name' | 'file'>;

async function write(
  input: WriteInput,
  { gathered, table, shape }: Material & { readonly shape: Shape },
): Promise<Written> {
  const { run, before, listing, nowNs } = input;
  const { level } = shape;
  const pruned = pruneStreams(gathered.state, { before, listing, nowNs });
  const published = before?.manifest;
  const kept = (published?.level1.length ?? 0) - shape.mergedLevel1;
  const keptLevel1 = published?.level1.slice(0, kept) ?? [];
  const { seqName, meta } = nameAndMeta(input, pruned.vector);
  const dropBefore = level === 'base' ? dropBeforeNs(input, gathered) : undefined;
  const merged = level === 'base' ? partsOf(input) : (published?.level1.slice(kept) ?? []);
  const file = await fold(
    {
      sources: [...(await spoolPublished(merged, run)), ...gathered.sources],
      sorter: gathered.sorter,
    },
    {
      table,
      scratch: run.scratch,
      meta: { ...meta, schemaMode: gathered.schemaMode },
      checkTime: () => checkTime(run),
      dropBeforeNs: dropBefore,
    },
  );
  await run.store.create(seqName, fileBody(file.file, run), run.signal);
  const whole = level === 'base' || published === undefined;
  const objects = {
    base: whole ? seqName : published.base,
    level1: whole ? [] : [...keptLevel1, seqName],
    ...pruned,
    rejoinBeforeNs: rejoinBefore(input, gathered, dropBefore),
    droppedNs: dropped(input, dropBefore),
    schemaMode: gathered.schemaMode,
    ...counts(input, file, whole),
  };
  return { objects, level, name: seqName, file: file.file };
}

async function gather(
  input: WriteInput,
  table: DbiTable,
): Promise<{ readonly gathered: Gathered; readonly isCut: boolean }> {
  const { run, before, replaced, tail } = input;
  const mode = await chooseFoldMode(replaced?.manifest.schemaMode, { run, tail });
  const untilMs = run.monotonicMs() + input.gatherMs;
  const claims = new Claims(before?.manifest);
  const gatherer = new Gatherer(claims, { run, table, mode, untilMs });
  try {
    await gatherer.gather(tail);
  } catch (error) {
    const isFull = error instanceof SyncError && error.code === 'SPOOL_FAILED';
    // What fitted is written; the rest finds room when that is done.
    if (!isFull || gatherer.result.claimed.length === 0) {
      throw error;
    }
  }
  const gathered = gatherer.result;
  const isLate = run.monotonicMs() >= untilMs;
  return { gathered, isCut: !gathered.isWhole && (isLate || isCutShort(input, gathered)) };
}

/** True if planned objects were not tried, for want of room: a further step finds some. */
function isCutShort({ run, tail }: WriteInput, gathered: Gathered): boolean {
  const { vector } = gathered.state;
  const failed = new Set(gathered.unreadable.map(({ name }) => name));
  const isLeft = (object: StoredObject): boolean =>
    !covers(vector, object) && !failed.has(object.name);
  const isFull = tail.snapshots.length + tail.deltas.length >= run.policy.foldObjectsMax;
  return isFull || tail.snapshots.some(isLeft);
}

function nameAndMeta(
  input: WriteInput,
  vector: StateObjects['vector'],
): { readonly seqName: string; readonly meta: SnapshotMeta } {
  const { run, before, nowNs } = input;
  const newest = [before?.manifest.base, ...(before?.manifest.level1 ?? [])]
    .map((name) => (name === undefined ? undefined : parseObjectName(name)?.timeNs) ?? 0n)
    .reduce((a, b) => (a > b ? a : b), 0n);
  const timeNs = nowNs > newest ? nowNs : newest + 1n;
  const id = newRun(run.random);
  const parts = { database: run.database, instance: COMPACTED_INSTANCE, timeNs, run: id, seq: 1n };
  return {
    seqName: formatObjectName({ ...parts, kind: 'base' }),
    meta: {
      generationId: `G${id}`,
      instance: COMPACTED_INSTANCE,
      hostname: '',
      lmdbTxnId: 0n,
      timestampNs: timeNs,
      databaseName: run.database,
      fromLmdbTxnId: 0n,
      run: id,
      seq: 1n,
      vector,
      writer: run.writer,
    },
  };
}

/**
 * Tombstones older than this are dropped: only from a whole state, and only if every listed object is in it, but those that
 * came back and that nobody reads. One that is not
 * may hold the live value that the tombstone has to beat. So may an old full snapshot that is kept for upstream's readers.
 */
function dropBeforeNs(input: WriteInput, gathered: Gathered): bigint | undefined {
  const { run, listing, nowNs } = input;
  const { tombstoneRetentionMs, upstreamReads } = run.policy;
  if (tombstoneRetentionMs === undefined || listing.truncated) {
    return undefined;
  }
  const cutNs = nowNs - BigInt(Math.round(tombstoneRetentionMs)) * 1_000_000n;
  const kept = upstreamReads ? newestSnapshots(listing) : [];
  return gathered.isWhole && kept.every(({ timeNs }) => timeNs >= cutNs) ? cutNs : undefined;
}

/**
 * Who synced last before this must rejoin; see `Manifest`. Of what is dropped here half the retention is added: so late
 * may a deletion have come into the bucket, and so far may clocks differ.
 */
function rejoinBefore(
  input: WriteInput,
  gathered: Gathered,
  dropBeforeNs: bigint | undefined,
): bigint {
  return latest(
    input.replaced?.manifest.rejoinBeforeNs,
    gathered.rejoinBeforeNs,
    horizon(input, dropBeforeNs),
  );
}

/** See `Manifest.droppedNs`. A state that begins from nothing holds whatever is listed, so it sets nothing aside. */
function dropped(input: WriteInput, dropBeforeNs: bigint | undefined): bigint {
  return latest(input.before?.manifest.droppedNs, horizon(input, dropBeforeNs));
}

/** The listing's time less half the retention: no content is named later that is older than what is dropped. */
function horizon({ run }: WriteInput, dropBeforeNs: bigint | undefined): bigint | undefined {
  const halfNs = BigInt(Math.round(run.policy.tombstoneRetentionMs ?? 0)) * 500_000n;
  return dropBeforeNs === undefined ? undefined : dropBeforeNs + halfNs;
}

function latest(...times: readonly (bigint | undefined)[]): bigint {
  return times.reduce<bigint>((a, b) => (b !== undefined && b > a ? b : a), 0n);
}

/** Of a state in levels the counts are upper bounds: an entry may stand in several. */
function counts(
  input: WriteInput,
  file: SnapshotFile,
  whole: boolean,
): Pick<StateObjects, 'entries' | 'tombstones'> {
  const { entries, tombstones } = file;
  const before = input.before?.manifest;
  return whole || before === undefined
    ? { entries, tombstones }
    : { entries: before.entries + entries, tombstones: before.tombstones + tombstones };
}

/** A finished scratch file as a body to store, as long as the run has time. */
export function fileBody(file: ScratchFile, run: CompactOptions): ObjectBody {
  return {
    sizeBytes: file.sizeBytes,
    async *open() {
      for await (const chunk of file.open()) {
        checkTime(run);
        yield chunk;
      }
    },
  };
}
