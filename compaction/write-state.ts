import { SyncError } from '../protocol/errors.ts';
import {
  COMPACTED_INSTANCE,
  formatObjectName,
  newRun,
  parseObjectName,
} from '../protocol/object-name.ts';
import type { SnapshotMeta } from '../protocol/snapshot.ts';
import type { ObjectBody } from '../storage/object-store.ts';
import type { TimestampNs } from '../protocol/time.ts';
import { EMPTY_VECTOR } from '../protocol/version-vector.ts';
import type { SnapshotSource } from './merge/cursor.ts';
import { DbiTable } from './merge/dbi-table.ts';
import { fold } from './merge/fold.ts';
import { chooseFoldMode, type Gathered, Gatherer } from './gather.ts';
import { GATHER_TIME_SHARE } from './limits.ts';
import { type SortedListing, newestSnapshots, uncovered } from './listing.ts';
import { registerDbis } from './merge/load.ts';
import { type StateObjects, pruneVector } from './next-state.ts';
import { type FoldLevel, type TailPlan, deltasBehindGaps, level1ToMerge } from './plan.ts';
import { type CompactOptions, checkTime, goneError, timeLeftMs } from './run-context.ts';
import type { ScratchFile } from './scratch/scratch.ts';
import type { SnapshotFile } from './merge/snapshot-file.ts';
import type { PublishedState } from './upkeep.ts';

/** What {@link writeState} works on. */
export type WriteInput = {
  readonly run: CompactOptions;
  readonly nowNs: TimestampNs;
  readonly listing: SortedListing;
  readonly before: PublishedState | undefined;
  readonly level: Exclude<FoldLevel, 'none'>;
  readonly tail: TailPlan;
  /** Sizes of the compactor's listed objects, by name. */
  readonly sizes: ReadonlyMap<string, number>;
};

/** A new state whose objects are stored and not yet published. */
export type WrittenState = {
  readonly gathered: Gathered;
  readonly objects: Omit<StateObjects, 'publishedAtNs'>;
  /** The new base or level-1 delta. */
  readonly name: string;
  readonly file: ScratchFile;
};

/** What gathering found when it did not lead to a new state. */
export type NothingNew = { readonly gathered: Gathered; readonly objects: undefined };

/**
 * Reads what is new, merges it (into a base: with everything published so far) and stores the result.
 *
 * Errors: SNAPSHOT_CORRUPT or SNAPSHOT_REJECTED if the published objects cannot be read; those of the store; OutOfTimeError.
 */
export async function writeState(input: WriteInput): Promise<WrittenState | NothingNew> {
  try {
    return await attempt(input, new DbiTable());
  } catch (error) {
    if (!(error instanceof SyncError) || error.code !== 'SNAPSHOT_REJECTED') {
      throw error;
    }
  }
  // Something new does not fit the base. With the base's DBIs known beforehand, gathering shows what it is.
  const table = new DbiTable();
  for (const source of publishedSources(input, 0)) {
    await registerDbis(source, { table, checkTime: () => checkTime(input.run) });
  }
  return attempt(input, table);
}

async function attempt(input: WriteInput, table: DbiTable): Promise<WrittenState | NothingNew> {
  const { run, level, before, listing, nowNs, tail } = input;
  const gathered = await gather(input, table);
  const due = level === 'base' && tail.bytes === 0;
  if (gathered.claimed.length === 0 && !due) {
    return { gathered, objects: undefined };
  }
  const { vector } = gathered;
  const pruned = pruneVector(vector, { before, listing, nowNs, policy: run.policy });
  const bytes = gathered.claimed.reduce((sum, object) => sum + object.sizeBytes, 0);
  const mergedLevel1 = mergedCount(input, bytes);
  const published = before?.manifest;
  const keptLevel1 = published?.level1.slice(0, published.level1.length - mergedLevel1) ?? [];
  const { seqName, meta } = nameAndMeta(input, pruned);
  const dropBefore = level === 'base' ? dropBeforeNs(input, gathered) : undefined;
  const file = await fold(
    {
      sources: [...publishedSources(input, keptLevel1.length), ...gathered.sources],
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
  await run.store.create(seqName, fileBody(file.file), run.signal);
  const whole = level === 'base' || published === undefined;
  const objects = {
    base: whole ? seqName : published.base,
    level1: whole ? [] : [...keptLevel1, seqName],
    vector: pruned,
    rejoinBeforeNs: rejoinBefore(input, gathered, dropBefore),
    schemaMode: gathered.schemaMode,
    ...counts(input, file, whole),
  };
  return { gathered, objects, name: seqName, file: file.file };
}

async function gather(input: WriteInput, table: DbiTable): Promise<Gathered> {
  const { run, before, listing, level, tail } = input;
  const nowMs = run.monotonicMs();
  const untilMs = nowMs + GATHER_TIME_SHARE * timeLeftMs(run);
  const gatherer = new Gatherer(before?.manifest.vector ?? EMPTY_VECTOR, {
    run,
    table,
    mode: await chooseFoldMode(before?.manifest.schemaMode, { run, tail }),
    untilMs,
  });
  await gatherer.gather(tail);
  if (level === 'base') {
    const { vector } = gatherer.result;
    await gatherer.gatherUnclaimed(deltasBehindGaps(listing, vector, run.policy.foldObjectsMax));
  }
  return gatherer.result;
}

/** How many of the newest level-1 deltas go into what is written. */
function mergedCount(input: WriteInput, newBytes: number): number {
  const level1 = input.before?.manifest.level1 ?? [];
  return input.level === 'base'
    ? level1.length
    : level1ToMerge(
        level1.map((name) => input.sizes.get(name) ?? 0),
        newBytes,
      );
}

/** The published objects that go into the fold: a base takes all, a level-1 delta those from `keep` on. */
function publishedSources(input: WriteInput, keep: number): SnapshotSource[] {
  const { run, before, level } = input;
  if (before === undefined) {
    return [];
  }
  const { base, level1 } = before.manifest;
  const names = level === 'base' ? [base, ...level1] : level1.slice(keep);
  return names.map((name) => ({
    name,
    existing: true,
    async *open() {
      const fetched = await run.store.get(name, { signal: run.signal });
      if (fetched === undefined) {
        throw goneError(name);
      }
      yield* fetched.body;
    },
  }));
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
 * Tombstones older than this are dropped: only from a whole state, and only if every listed object is in it. One that is not
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
  const complete = uncovered(listing, gathered.vector).length === 0;
  return complete && kept.every(({ timeNs }) => timeNs >= cutNs) ? cutNs : undefined;
}

/**
 * Who synced last before this must rejoin; see `Manifest`. Of what is dropped here half the retention is added: so late
 * may a deletion have come into the bucket, and so far may clocks differ.
 */
function rejoinBefore(
  { before, run }: WriteInput,
  gathered: Gathered,
  dropBeforeNs: bigint | undefined,
): bigint {
  const halfNs = BigInt(Math.round(run.policy.tombstoneRetentionMs ?? 0)) * 500_000n;
  return [
    before?.manifest.rejoinBeforeNs ?? 0n,
    gathered.rejoinBeforeNs,
    dropBeforeNs === undefined ? 0n : dropBeforeNs + halfNs,
  ].reduce((a, b) => (a > b ? a : b));
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

/** A finished scratch file as a body to store. */
export function fileBody(file: ScratchFile): ObjectBody {
  return { sizeBytes: file.sizeBytes, open: () => file.open() };
}
