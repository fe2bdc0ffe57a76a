import * as z from 'zod';

/** Environment variables of the compaction Lambda. */
export const COMPACTION_ENV = {
  bucket: 'BUCKET',
  objectPrefix: 'OBJECT_PREFIX',
  mustKeepSeconds: 'MUST_KEEP_SECONDS',
  tombstoneRetentionDays: 'TOMBSTONE_RETENTION_DAYS',
  upstreamReads: 'UPSTREAM_READS',
  spoolMib: 'SPOOL_MIB',
} as const;

/** What they hold. */
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
});

/** The parsed variables. */
export type CompactionEnv = z.infer<typeof compactionEnvSchema>;
