import { compact } from '../../compaction/compact.ts';
import { DEFAULT_POLICY, type CompactionPolicy } from '../../compaction/policy.ts';
import type { CompactionReport } from '../../compaction/report.ts';
import type { CompactOptions } from '../../compaction/run-context.ts';
import type { Scratch } from '../../compaction/scratch/scratch.ts';
import { COMPACTION_ENV } from '../shared/env.ts';
import { LAMBDA_MEMORY, type CompactionEnv } from './env.ts';
import type { Job } from './job.ts';

/** Milliseconds before the Lambda's end at which a run stops: for the report, and for a request under way. */
const MARGIN_MS = 10_000;

/** Of the function's memory, what one entry may have: folding 200 MiB took five times as much (Node 20). */
const ENTRY_MEMORY_SHARE = 1 / 8;

/** What a job runs with. */
export type RunJobOptions = Pick<
  CompactOptions,
  'store' | 'nowNs' | 'monotonicMs' | 'random' | 'writer'
> & {
  readonly policy: CompactionPolicy;
  /** Milliseconds until the Lambda is ended. */
  readonly remainingMs: number;
  readonly openScratch: () => Promise<Scratch & { close(): Promise<void> }>;
};

/** The policy that the environment variables describe. */
export function policyOf(env: CompactionEnv): CompactionPolicy {
  const memoryMib = env[LAMBDA_MEMORY];
  const days = env[COMPACTION_ENV.tombstoneRetentionDays];
  return {
    ...DEFAULT_POLICY,
    mustKeepMs: env[COMPACTION_ENV.mustKeepSeconds] * 1000,
    tombstoneRetentionMs: days === undefined ? undefined : days * 24 * 60 * 60 * 1000,
    upstreamReads: env[COMPACTION_ENV.upstreamReads],
    spoolBytesMax: env[COMPACTION_ENV.spoolMib] * 1024 * 1024,
    entryBytesMax:
      memoryMib === undefined
        ? DEFAULT_POLICY.entryBytesMax
        : Math.min(DEFAULT_POLICY.entryBytesMax, memoryMib * 1024 * 1024 * ENTRY_MEMORY_SHARE),
  };
}

/** Compacts one database and ends before the Lambda does. Errors: as {@link compact}. */
export async function runJob(job: Job, options: RunJobOptions): Promise<CompactionReport> {
  const { openScratch, remainingMs, ...rest } = options;
  const scratch = await openScratch();
  const stop = new AbortController();
  try {
    return await compact({
      ...rest,
      scratch,
      database: job.database,
      signal: stop.signal,
      deadlineMs: options.monotonicMs() + remainingMs - MARGIN_MS,
    });
  } finally {
    // What is still under way after an error ends with the job.
    stop.abort();
    await scratch.close();
  }
}
