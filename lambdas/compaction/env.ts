import * as z from 'zod';
import { COMPACTION_ENV } from '../shared/env.ts';

/** How AWS calls the variable with the memory of a function. */
export const LAMBDA_MEMORY = 'AWS_LAMBDA_FUNCTION_MEMORY_SIZE';

/** What the variables of {@link COMPACTION_ENV} hold. */
export const compactionEnvSchema = z.object({
  [COMPACTION_ENV.bucket]: z.string().min(1),
  /** What stands before every object name in the bucket; may be empty. */
  [COMPACTION_ENV.objectPrefix]: z.string(),
  [COMPACTION_ENV.mustKeepSeconds]: z.coerce.number().nonnegative(),
  /** "never", or days after which tombstones are dropped. */
  [COMPACTION_ENV.tombstoneRetentionDays]: z.union([
    z.literal('never').transform(() => undefined),
    z.coerce.number().positive(),
  ]),
  [COMPACTION_ENV.upstreamReads]: z.enum(['true', 'false']).transform((text) => text === 'true'),
  /** Temporary disk for the full snapshots of one run; what it writes needs as much again. */
  [COMPACTION_ENV.spoolMib]: z.coerce.number().positive(),
  /** The function's memory in MiB; Lambda sets it. */
  [LAMBDA_MEMORY]: z.coerce.number().positive().optional(),
});

/** The parsed variables. */
export type CompactionEnv = z.infer<typeof compactionEnvSchema>;
