import { SyncError } from '../protocol/errors.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { TimestampNs } from '../protocol/time.ts';
import type { CompactionPolicy } from './policy.ts';
import type { Scratch } from './scratch/scratch.ts';

/** What a compaction run works with. */
export type CompactOptions = {
  readonly store: ObjectStore;
  readonly database: string;
  readonly scratch: Scratch;
  readonly policy: CompactionPolicy;
  readonly signal: AbortSignal;
  /** The wall clock. */
  readonly nowNs: () => TimestampNs;
  /** Milliseconds of a clock that never steps back. */
  readonly monotonicMs: () => number;
  /** Time of the monotonic clock at which the run must have ended; undefined: no limit. */
  readonly deadlineMs?: number | undefined;
  readonly random: (bytes: number) => Uint8Array;
  /** Program and version, written into bases. */
  readonly writer: string;
  /** Does all of the work, but stores and deletes nothing: the report says what the run would have done. */
  readonly dryRun?: boolean | undefined;
};

/** The run has to end before it is finished. What was published stays, everything else is done again next time. */
export class OutOfTimeError extends Error {
  constructor() {
    super('the time of this compaction run is over');
    this.name = 'OutOfTimeError';
  }
}

/** Throws when the run has to end: aborted, or its time is over. */
export function checkTime(options: CompactOptions): void {
  options.signal.throwIfAborted();
  if (timeLeftMs(options) <= 0) {
    throw new OutOfTimeError();
  }
}

/** Milliseconds until the deadline; infinite without one. */
export function timeLeftMs(options: CompactOptions): number {
  const { deadlineMs = Number.POSITIVE_INFINITY, monotonicMs } = options;
  return deadlineMs - monotonicMs();
}

/** The error for a base or level-1 delta that the manifest names and the bucket does not have. */
export function goneError(name: string): SyncError {
  return new SyncError(
    'STORAGE_FAILED',
    `${name} is named by the manifest and is not in the bucket`,
    {
      hint: 'Find out what deletes objects in the bucket; the next run makes a base of what is listed.',
      retryable: true,
    },
  );
}
