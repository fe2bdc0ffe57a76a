import { SyncError } from '../protocol/errors.ts';
import type { TimestampNs } from '../protocol/time.ts';
import type { Gathered } from './gather.ts';
import type { SortedListing } from './listing.ts';
import { type FoldLevel, type TailPlan, level1ToMerge } from './plan.ts';
import { type CompactOptions, OutOfTimeError, timeLeftMs } from './run-context.ts';
import type { PublishedState } from './upkeep.ts';

/** Why a base waits, and the time that its step had. */
export type Postponed = { readonly why: 'time' | 'space'; readonly timeMs: number };

/** What is merged and written: a base of everything, or a level-1 delta that takes in so many of the newest ones. */
export type Shape = {
  readonly level: Exclude<FoldLevel, 'none'>;
  readonly mergedLevel1: number;
};

/** What a step reads and writes. */
export type WriteInput = {
  readonly run: CompactOptions;
  readonly nowNs: TimestampNs;
  readonly listing: SortedListing;
  readonly before: PublishedState | undefined;
  /** The manifest that is replaced; without `before` one whose objects are lost. */
  readonly replaced: PublishedState | undefined;
  readonly level: Exclude<FoldLevel, 'none'>;
  readonly tail: TailPlan;
  /** The tail is not all that can be read: large full snapshots wait for a later step. */
  readonly isDeferred: boolean;
  /** The parts of a lost state that can be read; none where the state is whole. */
  readonly salvaged: readonly string[];
  /** Sizes of the compactor's listed objects, by name. */
  readonly sizes: ReadonlyMap<string, number>;
  /** Milliseconds that the step has, and after which it begins to read no further object. */
  readonly timeMs: number;
  readonly gatherMs: number;
};

/** What may be written, the most first: each of the others needs less time and room than the one before. */
export function shapesOf(
  { level, before, sizes, isDeferred }: WriteInput,
  { gathered, isCut }: { readonly gathered: Gathered; readonly isCut: boolean },
): readonly Shape[] {
  if (before === undefined) {
    return [{ level: 'base', mergedLevel1: 0 }];
  }
  const { level1 } = before.manifest;
  const newBytes = gathered.claimed.reduce((sum, object) => sum + object.sizeBytes, 0);
  const merged = level1ToMerge(
    level1.map((name) => sizes.get(name) ?? 0),
    newBytes,
  );
  const shapes: Shape[] = [];
  // A base that more must follow at once would be written twice.
  if (level === 'base' && !isCut && !isDeferred) {
    shapes.push({ level: 'base', mergedLevel1: level1.length });
  }
  if (gathered.claimed.length > 0) {
    shapes.push(...(merged === 0 ? [] : [{ level: 'level1' as const, mergedLevel1: merged }]));
    shapes.push({ level: 'level1', mergedLevel1: 0 });
  }
  return shapes;
}

/** undefined: another failure than that of time or room. */
export function whyTooMuch(error: unknown, run: CompactOptions): Postponed['why'] | undefined {
  if (error instanceof SyncError && error.code === 'SPOOL_FAILED') {
    return 'space';
  }
  // What ends an upload in the middle comes back as an error of the storage.
  return error instanceof OutOfTimeError || timeLeftMs(run) <= 0 ? 'time' : undefined;
}

/** A base needs room for all of its parts, and for as much again: found out before they are downloaded. */
export async function requireSpace(input: WriteInput, { level }: Shape): Promise<void> {
  const { run, sizes } = input;
  if (level !== 'base') {
    return;
  }
  const partBytes = partsOf(input).reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0);
  const freeBytes = await run.scratch.freeBytes();
  if (2 * partBytes > freeBytes) {
    throw new SyncError(
      'SPOOL_FAILED',
      `a base of ${partBytes} bytes needs twice as many on disk, and ${freeBytes} are free`,
      { hint: 'Give the compactor more disk for temporary files.', retryable: true },
    );
  }
}

/** What a new base is merged from, besides what is new: everything that is published, or what is left of it. */
export function partsOf({ before, salvaged }: WriteInput): readonly string[] {
  return before === undefined ? salvaged : [before.manifest.base, ...before.manifest.level1];
}
