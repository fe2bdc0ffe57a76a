import type { Manifest } from '../protocol/manifest.ts';
import type { VersionVector } from '../protocol/version-vector.ts';
import type { TimestampNs } from '../protocol/time.ts';
import type { Gathered, Unreadable } from './gather.ts';
import { type SortedListing, type StoredObject, instanceObjects, uncovered } from './listing.ts';
import type { FoldLevel, TailPlan } from './plan.ts';
import type { Removal } from './remove.ts';
import type { CompactOptions } from './run-context.ts';
import type { WrittenState } from './write-state.ts';

/** What one run did, or in a dry run: would do. */
export type CompactionReport = {
  readonly database: string;
  /**
   * published: a new manifest; nothing: none was needed; lost: another compactor was first; unknown: no clear answer,
   * so nothing was deleted; out-of-time: the run ended early; planned: a dry run.
   */
  readonly outcome: 'published' | 'nothing' | 'lost' | 'unknown' | 'out-of-time' | 'planned';
  /** What was written. */
  readonly level: FoldLevel;
  /** Objects of instances in the listing. */
  readonly listedObjects: number;
  readonly foldedObjects: number;
  readonly foldedBytes: number;
  readonly unreadable: readonly Unreadable[];
  /** Objects that came back after tombstones were dropped: left alone. */
  readonly setAside: readonly string[];
  /** The published object that was lost, so that a base begins from what is listed. */
  readonly lostBase: string | undefined;
  /** Name of the new base or level-1 delta. */
  readonly written: string | undefined;
  readonly writtenBytes: number;
  /** Of the published state; of a state in levels they are upper bounds. */
  readonly entries: number;
  readonly tombstones: number;
  /** Names that were deleted, or would be. */
  readonly deleted: readonly string[];
  readonly failedDeletes: number;
  /** A base is due and did not fit into the time, or the temporary disk, of a run: give it more. */
  readonly baseWaits: boolean;
  /** Listed objects that the published state does not cover. */
  readonly leftObjects: number;
  /** The largest of those. */
  readonly largestLeft: string | undefined;
  /** Milliseconds for which the oldest of those has been in the bucket; 0 without any. */
  readonly lagMs: number;
};

/** What a report is made from. */
export type ReportInput = {
  readonly run: CompactOptions;
  readonly nowNs: TimestampNs;
  readonly listing: SortedListing;
  readonly before: { readonly manifest: Manifest } | undefined;
  /** What the manifest names and is lost. */
  readonly lost?: string | undefined;
  readonly tail: Pick<TailPlan, 'setAside'>;
  readonly outcome: CompactionReport['outcome'];
  readonly level: FoldLevel;
  /** Of the state that is published now. */
  readonly vector: VersionVector;
  readonly state?: Manifest | undefined;
  readonly gathered?: Gathered | undefined;
  readonly written?: WrittenState | undefined;
  readonly removal?: Removal | undefined;
  readonly baseWaits?: boolean | undefined;
};

/** Puts a report together. */
export function makeReport(input: ReportInput): CompactionReport {
  const { run, listing, gathered, written, removal } = input;
  const left = uncovered(listing, input.vector);
  const nowMs = Number(input.nowNs / 1_000_000n);
  const oldestMs = left.reduce((oldest, one) => Math.min(oldest, one.lastModifiedMs), nowMs);
  const state = input.state ?? input.before?.manifest;
  const claimed = gathered?.claimed ?? [];
  return {
    database: run.database,
    outcome: input.outcome,
    level: input.level,
    listedObjects: [...instanceObjects(listing)].length,
    foldedObjects: claimed.length,
    foldedBytes: claimed.reduce((sum, one) => sum + one.sizeBytes, 0),
    unreadable: gathered?.unreadable ?? [],
    setAside: input.tail.setAside.map(({ name }) => name),
    lostBase: input.lost,
    written: written?.name,
    writtenBytes: written?.file.sizeBytes ?? 0,
    entries: state?.entries ?? 0,
    tombstones: state?.tombstones ?? 0,
    deleted: removal?.deleted ?? [],
    failedDeletes: removal?.failedDeletes ?? 0,
    baseWaits: input.baseWaits ?? false,
    leftObjects: left.length,
    largestLeft: largestOf(left)?.name,
    lagMs: nowMs - oldestMs,
  };
}

function largestOf(objects: readonly StoredObject[]): StoredObject | undefined {
  let largest: StoredObject | undefined;
  for (const object of objects) {
    if (largest === undefined || object.sizeBytes > largest.sizeBytes) {
      largest = object;
    }
  }
  return largest;
}

/** The report of a run whose last step came after others: sums, and the state at its end. */
export function joinReports(earlier: CompactionReport, last: CompactionReport): CompactionReport {
  const isKept = earlier.outcome === 'published' && last.outcome !== 'unknown';
  const unreadable = new Map(
    [...earlier.unreadable, ...last.unreadable].map((one) => [one.name, one]),
  );
  return {
    ...last,
    outcome: isKept ? 'published' : last.outcome,
    level: last.level === 'none' ? earlier.level : last.level,
    listedObjects: earlier.listedObjects,
    foldedObjects: earlier.foldedObjects + last.foldedObjects,
    foldedBytes: earlier.foldedBytes + last.foldedBytes,
    unreadable: [...unreadable.values()],
    lostBase: earlier.lostBase ?? last.lostBase,
    written: last.written ?? earlier.written,
    writtenBytes: earlier.writtenBytes + last.writtenBytes,
    deleted: [...earlier.deleted, ...last.deleted],
    failedDeletes: earlier.failedDeletes + last.failedDeletes,
    baseWaits: earlier.baseWaits || last.baseWaits,
  };
}
