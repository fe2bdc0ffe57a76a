import type { Registry } from 'prom-client';
import { CLEANING_REASONS } from '../engine/cleaning-rule.ts';
import { MetricMaker, PER_DATABASE, PER_INSTANCE } from './metric-maker.ts';
import { ANY_STEPS } from './step-rules.ts';

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Upstream's buckets for the age of an object when it is first seen: seconds to 30 days. */
const AGE_BUCKETS = [
  0.1,
  0.2,
  0.5,
  1,
  2,
  5,
  10,
  30,
  ...[1, 2, 5, 10, 30].map((minutes) => minutes * MINUTE),
  ...[1, 2, 6, 12].map((hours) => hours * HOUR),
  ...[1, 3, 7, 14, 30].map((days) => days * DAY),
];
const LOCK_BUCKETS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5];
const LATENCY_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** What observers of a database count. */
export type SyncerMetrics = ReturnType<typeof createSyncerMetrics>;

/** The metrics of all databases, under upstream's names and ours. */
export function createSyncerMetrics(registry: Registry) {
  const make = new MetricMaker(registry);
  return {
    ...upstreamMetrics(make),
    ...housekeepingMetrics(make),
    ...ownMetrics(make),
    ...troubleMetrics(make),
    /** From now on all metrics of this database exist, most with the value 0. */
    beginDatabase: (lmdb: string) => make.beginDatabase(lmdb),
    /** The same for one other instance, in this database. */
    beginInstance: (lmdb: string, instance: string) => make.beginInstance(lmdb, instance),
  };
}

function upstreamMetrics(make: MetricMaker) {
  return {
    generated: make.counter('syncer_snapshots_generated_total', 'Objects generated', PER_DATABASE),
    generatedLast: make.gauge(
      'syncer_snapshots_generated_last_unix_seconds',
      'Time of the last object generated',
      PER_DATABASE,
    ),
    generatedSize: make.gauge(
      'syncer_snapshots_generated_last_size_bytes',
      'Compressed size of the last object generated',
      PER_DATABASE,
    ),
    storeCalls: make.counter(
      'syncer_snapshots_store_calls_total',
      'Attempts to store an object',
      {},
    ),
    storeBytes: make.counter('syncer_snapshots_store_bytes_total', 'Bytes stored', {}),
    storeFailed: make.counter(
      'syncer_snapshots_store_failed_attempts_total',
      'Failed attempts to store an object',
      PER_DATABASE,
    ),
    storeGaveUp: make.counter(
      'syncer_snapshots_store_failed_permanently_total',
      'Objects not stored because the agent gave up',
      PER_DATABASE,
    ),
    loadCalls: make.counter('syncer_snapshots_load_calls_total', 'Objects fetched', {}),
    loadBytes: make.counter('syncer_snapshots_load_bytes_total', 'Bytes fetched', {}),
    loadFailed: make.counter('syncer_snapshots_load_failed_total', 'Failed fetches', PER_INSTANCE),
    listCalls: make.counter('syncer_snapshots_list_calls_total', 'Listings of the storage', {}),
    listFailed: make.counter(
      'syncer_snapshots_list_failed_total',
      'Failed listings of the storage',
      PER_DATABASE,
    ),
    receivedLast: make.gauge(
      'receiver_snapshots_last_received_seconds',
      'Time of the newest object seen',
      PER_INSTANCE,
    ),
    receivedAge: make.histogram(
      'receiver_snapshots_last_received_age_seconds',
      'Age of objects when first seen',
      {
        labels: PER_INSTANCE,
        buckets: AGE_BUCKETS,
      },
    ),
    inStorage: make.gauge(
      'receiver_snapshots_in_storage_count',
      'Objects in the storage',
      PER_DATABASE,
    ),
    inStorageBytes: make.gauge(
      'receiver_snapshots_in_storage_bytes',
      'Size of the objects in the storage',
      PER_DATABASE,
    ),
  };
}

/** Of housekeeping, as upstream has them. */
function housekeepingMetrics(make: MetricMaker) {
  return {
    sweeperCleaned: make.counter('sweeper_cleaned_total', 'Tombstones removed', PER_DATABASE),
    sweeperAvailable: make.gauge(
      'sweeper_stats_available',
      '1 after the first sweep',
      PER_DATABASE,
    ),
    sweeperEntries: make.gauge(
      'sweeper_stats_total_entries',
      'Entries left, tombstones included',
      PER_DATABASE,
    ),
    sweeperTombstones: make.gauge('sweeper_stats_deleted_entries', 'Tombstones left', PER_DATABASE),
    sweeperDuration: make.summary('sweeper_duration_seconds', 'Duration of sweeps', PER_DATABASE),
    cleanerListCalls: make.counter('cleaner_list_calls_total', 'Listings by the cleaner', {}),
    cleanerListFailed: make.counter(
      'cleaner_list_failed_total',
      'Failed listings by the cleaner',
      {},
    ),
    cleanerDeletes: make.counter('cleaner_delete_total', 'Deletions that the cleaner tried', {
      ...PER_DATABASE,
      reason: CLEANING_REASONS,
    }),
    cleanerDeleteFailed: make.counter('cleaner_delete_failed_total', 'Failed deletions', {}),
  };
}

function ownMetrics(make: MetricMaker) {
  return {
    storedObjects: make.counter('stored_objects_total', 'Objects stored', {
      ...PER_DATABASE,
      kind: ['snapshot', 'delta'],
    }),
    storedEntries: make.counter('stored_entries_total', 'Entries in stored objects', PER_DATABASE),
    storeDuration: make.histogram(
      'store_duration_seconds',
      'From the start of encoding to the acknowledgement',
      {
        labels: PER_DATABASE,
        buckets: LATENCY_BUCKETS,
      },
    ),
    mergedObjects: make.counter('merged_objects_total', 'Objects merged', PER_INSTANCE),
    mergedEntries: make.counter('merged_entries_total', 'Entries in merged objects', PER_DATABASE),
    mergedChanges: make.counter(
      'merged_changes_total',
      'Entries that a merge changed',
      PER_DATABASE,
    ),
    mergeTransactions: make.counter(
      'merge_transactions_total',
      'Write transactions of merges',
      PER_DATABASE,
    ),
    lockHeld: make.histogram(
      'merge_lock_held_seconds',
      'Longest time a merge held the write lock',
      {
        labels: PER_DATABASE,
        buckets: LOCK_BUCKETS,
      },
    ),
    lockWait: make.histogram('merge_lock_wait_seconds', 'Time a merge waited for the write lock', {
      labels: PER_DATABASE,
      buckets: LOCK_BUCKETS,
    }),
    commitToVisible: make.histogram(
      'commit_to_visible_seconds',
      'From the time at which a change was encoded by its writer to the end of its merge here; after the initial sync',
      { labels: PER_DATABASE, buckets: LATENCY_BUCKETS },
    ),
  };
}

/** What an operator has to look at. */
function troubleMetrics(make: MetricMaker) {
  return {
    rescans: make.counter(
      'lmdb_rescans_total',
      'Looks that read a whole LMDB because a page diff failed',
      PER_DATABASE,
    ),
    regressions: make.counter(
      'regressions_total',
      'Local changes older than what they replaced, put back',
      PER_DATABASE,
    ),
    futureEntries: make.counter(
      'future_entries_total',
      'Entries with a time in the future',
      PER_DATABASE,
    ),
    rejoins: make.counter('rejoins_total', 'Rejoins after a long absence', PER_DATABASE),
    rejoinDropped: make.counter(
      'rejoin_dropped_entries_total',
      'Entries that others had deleted and swept, dropped at a rejoin',
      PER_DATABASE,
    ),
    lmdbFailed: make.counter('lmdb_failed_total', 'Failed work in the LMDB', PER_DATABASE),
    stepFailures: make.counter(
      'step_failures_total',
      'Failed steps, each of which is tried again',
      { ...PER_DATABASE, step: ANY_STEPS },
    ),
  };
}
