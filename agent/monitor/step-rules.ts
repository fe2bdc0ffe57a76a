import type { HealthConfig } from '../config/config.ts';
import type { Step } from '../engine/observer.ts';

/** Every step of a database's engine that is tried again until it succeeds. */
export type AnyStep = Step | 'list' | 'load' | 'store';

type StepRule = {
  /** The check on `/healthz`, after the database's name; undefined: a condition reports it. */
  readonly check: string | undefined;
  /** Completes "failed to …". */
  readonly activity: string;
  /** After which of the configured times it is reported. */
  readonly limits: 'storageList' | 'storageLoad' | 'storageStore';
  /** While it fails, the database does not send or does not receive: it becomes an error, 503. All others stay warnings. */
  readonly stopsSync: boolean;
  /** Reported from the first failure on, not only after the configured time. */
  readonly atOnce?: boolean | undefined;
  /** The log line, where "cannot … now, trying again" does not fit. */
  readonly log?: string | undefined;
};

/** What is said of each step that fails, and which of them make `/healthz` answer 503. */
export const STEP_RULES: Readonly<Record<AnyStep, StepRule>> = {
  list: {
    check: 'storage_list_failed_duration',
    activity: 'list storage backend',
    limits: 'storageList',
    stopsSync: true,
  },
  load: {
    check: 'storage_load_failed_duration',
    activity: 'read from storage backend',
    limits: 'storageLoad',
    stopsSync: true,
  },
  store: {
    check: 'storage_store_failed_duration',
    activity: 'write to storage backend',
    limits: 'storageStore',
    stopsSync: true,
    log: 'Store failed, trying again',
  },
  'bucket id': {
    check: 'bucket_id_failed',
    activity: "read or create the bucket's id",
    limits: 'storageList',
    stopsSync: true,
  },
  'bucket id content': {
    check: 'bucket_id_damaged',
    activity: 'tell which bucket this is',
    limits: 'storageList',
    stopsSync: false,
    atOnce: true,
    log: 'cannot tell which bucket this is, going on with the one that is known',
  },
  pass: {
    check: 'pass_failed',
    activity: 'merge everything that is listed',
    limits: 'storageLoad',
    stopsSync: true,
  },
  manifest: {
    check: 'manifest_damaged',
    activity: 'read the manifest (run the compactor again)',
    limits: 'storageLoad',
    stopsSync: false,
    atOnce: true,
    log: 'the manifest is damaged: what was compacted cannot be read; run the compactor again',
  },
  base: {
    check: 'base_lost',
    activity: 'read the published base (run the compactor again)',
    limits: 'storageLoad',
    stopsSync: false,
    atOnce: true,
    log: 'the published base is gone or damaged, going on without it; run the compactor again',
  },
  'old objects': {
    check: 'objects_set_aside',
    activity: 'merge objects that came back after tombstones were dropped',
    limits: 'storageLoad',
    stopsSync: false,
    atOnce: true,
    log: 'objects came back after tombstones were dropped, or were written by a clock far behind: left alone',
  },
  merge: {
    check: undefined,
    activity: 'merge into the LMDB',
    limits: 'storageLoad',
    stopsSync: true,
  },
  'local changes': {
    check: undefined,
    activity: 'read local changes',
    limits: 'storageStore',
    stopsSync: true,
  },
  'sync state': {
    check: 'sync_state_failed',
    activity: 'write the sync state',
    limits: 'storageStore',
    stopsSync: false,
    atOnce: true,
  },
  clean: {
    check: 'cleaner_failed',
    activity: 'clean the storage',
    limits: 'storageStore',
    stopsSync: false,
    atOnce: true,
    log: 'cannot clean the storage',
  },
  sweep: {
    check: 'sweeper_failed',
    activity: 'sweep the LMDB',
    limits: 'storageStore',
    stopsSync: false,
    atOnce: true,
  },
};

export const ANY_STEPS = Object.keys(STEP_RULES) as readonly AnyStep[];

/** When a failing step is reported, and as what. */
export function stepLimits(
  { limits, stopsSync, atOnce }: StepRule,
  config: HealthConfig,
): HealthConfig['storageList'] {
  const configured = config[limits];
  return {
    ...configured,
    ...(atOnce === true ? { warnDurationMs: 0 } : {}),
    ...(stopsSync ? {} : { errorDurationMs: Number.POSITIVE_INFINITY }),
  };
}
