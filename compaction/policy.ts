import { MAX_ENTRY_BYTES } from '../protocol/limits.ts';
import {
  BASE_DUE_RATIO,
  BASE_MAX_AGE_MS,
  FOLD_OBJECTS_MAX,
  LEVEL1_COUNT_MAX,
  MUST_KEEP_MS,
  SMALL_BASE_BYTES,
  SPOOL_BYTES_MAX,
} from './limits.ts';

/** How the compactor behaves in one bucket. */
export type CompactionPolicy = {
  /** How long an object stays after a published state covered it, so that readers that have listed it still find it. */
  readonly mustKeepMs: number;
  /** Age at which tombstones are dropped; undefined: never. Must be what the agents' sweepers have. */
  readonly tombstoneRetentionMs: number | undefined;
  /** Upstream instances read the bucket: every instance keeps its newest full snapshot, and bases are copied for them. */
  readonly upstreamReads: boolean;
  readonly baseDueRatio: number;
  readonly baseMaxAgeMs: number;
  readonly smallBaseBytes: number;
  readonly level1CountMax: number;
  readonly spoolBytesMax: number;
  readonly foldObjectsMax: number;
  /** An object with a larger entry stays out, unread: folding holds an entry several times. */
  readonly entryBytesMax: number;
};

/** What suits most buckets; no tombstone is dropped. */
export const DEFAULT_POLICY: CompactionPolicy = {
  mustKeepMs: MUST_KEEP_MS,
  tombstoneRetentionMs: undefined,
  upstreamReads: false,
  baseDueRatio: BASE_DUE_RATIO,
  baseMaxAgeMs: BASE_MAX_AGE_MS,
  smallBaseBytes: SMALL_BASE_BYTES,
  level1CountMax: LEVEL1_COUNT_MAX,
  spoolBytesMax: SPOOL_BYTES_MAX,
  foldObjectsMax: FOLD_OBJECTS_MAX,
  entryBytesMax: MAX_ENTRY_BYTES,
};
