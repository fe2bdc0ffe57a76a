import type { TimestampNs } from '../protocol/time.ts';
import type { SortedListing } from './listing.ts';
import type { StoredState } from './manifest-store.ts';
import { type Pace, isTooLong } from './pace.ts';
import { type FoldLevel, type TailPlan, chooseLevel, planTail } from './plan.ts';
import { type CompactOptions, timeLeftMs } from './run-context.ts';

/** What one step of a run begins with. */
export type StepStart = {
  readonly run: CompactOptions;
  readonly pace: Pace;
  readonly nowNs: TimestampNs;
  readonly listing: SortedListing;
  /** What the step builds on; undefined: it begins from nothing. */
  readonly before: StoredState | undefined;
  /** The manifest in the bucket; without `before` one that names objects which are lost. */
  readonly replaced: StoredState | undefined;
  /** The published object that is lost, if one is. */
  readonly lost: string | undefined;
  readonly tail: TailPlan;
  /** The tail is not all that can be read: large full snapshots wait for a later step. */
  readonly isDeferred: boolean;
  readonly level: FoldLevel;
  /** A base is due, and did not fit into the time of a run not long ago. */
  readonly baseWaits: boolean;
  readonly sizes: ReadonlyMap<string, number>;
  /** Milliseconds that the step has, and after which it begins to read no further object. */
  readonly timeMs: number;
  readonly gatherMs: number;
  /** When conditional writes were proven on this storage: in this run, or not long before. 0 in a dry run. */
  readonly conditionsProvenNs: bigint;
};

type StepInput = Pick<
  StepStart,
  'run' | 'nowNs' | 'listing' | 'before' | 'replaced' | 'lost' | 'conditionsProvenNs'
>;

/** Decides what a step reads and at which level it writes. */
export function planStep(input: StepInput, pace: Pace, mayDefer = true): StepStart {
  const { run, nowNs, listing, before } = input;
  const sizes = new Map(listing.compacted.map(({ name, sizeBytes }) => [name, sizeBytes]));
  const all = planTail(listing, before?.manifest, run.policy);
  const small = mayDefer ? withoutLarge(input, pace) : undefined;
  const tail = small ?? all;
  const level1 = before?.manifest.level1 ?? [];
  const due = chooseLevel({
    manifest: before?.manifest,
    tailBytes: tail.bytes,
    baseBytes: sizes.get(before?.manifest.base ?? '') ?? 0,
    level1Bytes: level1.map((name) => sizes.get(name) ?? 0),
    nowNs,
    policy: run.policy,
  });
  const baseWaits = due === 'base' && isTooLong(before?.upkeep.baseTooLong, run);
  const instead = tail.bytes > 0 ? 'level1' : 'none';
  return {
    ...input,
    pace,
    tail,
    isDeferred: small !== undefined,
    sizes,
    level: baseWaits ? instead : due,
    baseWaits,
    timeMs: timeLeftMs(run),
    gatherMs: pace.gatherMs,
  };
}

/**
 * What can be read without the full snapshots that take more than a step: one that never fits must not keep the others
 * waiting. undefined: there is none, or nothing else.
 */
function withoutLarge({ listing, before, run }: StepInput, pace: Pace): TailPlan | undefined {
  const { largeBytes } = pace;
  const snapshots = listing.snapshots.filter(({ sizeBytes }) => sizeBytes <= largeBytes);
  if (snapshots.length === listing.snapshots.length) {
    return undefined;
  }
  const tail = planTail({ ...listing, snapshots }, before?.manifest, run.policy);
  return tail.bytes === 0 ? undefined : { ...tail, isWhole: false };
}
