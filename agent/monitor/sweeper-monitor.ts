import { formatGoDuration } from '../../protocol/time.ts';
import type { RejoinReport, SweeperObserver, SweepReport } from '../engine/housekeeping-types.ts';
import type { Logger } from '../log/log.ts';
import type { SyncerMetrics } from './syncer-metrics.ts';
import type { RejoinStatus } from './status.ts';

export type SweeperMonitorDeps = {
  readonly name: string;
  readonly metrics: SyncerMetrics;
  readonly log: Logger;
  /** A rejoin is due (and why it could not be finished), or no longer. */
  readonly onRejoin?: ((rejoin: RejoinStatus | undefined) => void) | undefined;
};

/** Counts and logs what one database's sweeper does, under upstream's names, and every rejoin. */
export class SweeperMonitor implements SweeperObserver {
  readonly #name: string;
  readonly #metrics: SyncerMetrics;
  readonly #log: Logger;
  readonly #onRejoin: SweeperMonitorDeps['onRejoin'];
  #lastSyncMs = 0;

  constructor(deps: SweeperMonitorDeps) {
    this.#name = deps.name;
    this.#metrics = deps.metrics;
    this.#log = deps.log.child({ component: 'sweeper' });
    this.#onRejoin = deps.onRejoin;
  }

  swept({ entries, tombstones, removed, transactions, durationMs }: SweepReport): void {
    const lmdb = { lmdb: this.#name };
    this.#metrics.sweeperCleaned.inc(lmdb, removed);
    this.#metrics.sweeperAvailable.set(lmdb, 1);
    this.#metrics.sweeperEntries.set(lmdb, entries);
    this.#metrics.sweeperTombstones.set(lmdb, tombstones);
    this.#metrics.sweeperDuration.observe(lmdb, durationMs / 1000);
    this.#log.info(
      {
        total_entries: entries,
        deleted_entries: tombstones,
        deleted_fraction: entries === 0 ? 0 : tombstones / entries,
        cleaned_entries: removed,
        transactions,
        time_taken: formatGoDuration(Math.round(durationMs)),
      },
      'sweep done',
    );
  }

  rejoinBegan(lastSyncNs: bigint): void {
    this.#lastSyncMs = Number(lastSyncNs / 1_000_000n);
    this.#onRejoin?.({ lastSyncMs: this.#lastSyncMs, postponed: undefined });
    const last = new Date(this.#lastSyncMs).toISOString();
    this.#log.warn(
      { last_sync: last },
      'this host was away for longer than half the tombstone retention: reading all of the storage before anything is sent',
    );
  }

  rejoined({ dropped, stamped, objects }: RejoinReport): void {
    this.#onRejoin?.(undefined);
    this.#metrics.rejoins.inc({ lmdb: this.#name });
    this.#metrics.rejoinDropped.inc({ lmdb: this.#name }, dropped);
    this.#log.warn(
      { objects, dropped_entries: dropped, entries_with_new_time: stamped },
      'rejoined: entries that others have deleted and swept meanwhile are dropped, old unsent changes have the time of now',
    );
  }

  rejoinPostponed(reason: string): void {
    this.#onRejoin?.({ lastSyncMs: this.#lastSyncMs, postponed: reason });
    this.#log.warn(
      { error: reason },
      'cannot rejoin now, trying again later; until then nothing is dropped, swept or cleaned here',
    );
  }
}
