import type { Superfluous } from './cleaning-rule.ts';

/** Upstream's options of `storage.cleanup`. */
export type CleanerSettings = {
  /** Between two runs, give or take a fifth, so that the agents of a fleet do not clean together. */
  readonly intervalMs: number;
  /** An object stays this long after a stored full state covered it: whoever has listed it still finds it. */
  readonly mustKeepMs: number;
  /** An instance without a newer object than this is stale. */
  readonly removeOldInstancesMs: number;
};

/** What the cleaner does, for metrics and logs. Calls must be cheap and never throw. */
export interface CleanerObserver {
  listed(): void;
  listFailed(error: unknown): void;
  deleted(object: Superfluous): void;
  deleteFailed(object: Superfluous, error: unknown): void;
  finished(report: CleanerReport): void;
}

export type CleanerReport = {
  readonly deleted: number;
  readonly failed: number;
  /** Objects of the database in the listing. */
  readonly listed: number;
};

/** Upstream's options of `sweeper`. */
export type SweeperSettings = {
  /** Tombstones older than this go; a host that was away for longer than half of it rejoins. */
  readonly retentionMs: number;
  readonly firstIntervalMs: number;
  readonly intervalMs: number;
  /** How long one write transaction may take, and the pause after it. */
  readonly lockMs: number;
  readonly releaseMs: number;
};

export type SweepReport = {
  /** Registers that are left, tombstones included. */
  readonly entries: number;
  readonly tombstones: number;
  readonly removed: number;
  readonly transactions: number;
  readonly durationMs: number;
};

export type RejoinReport = {
  /** Entries that others have swept, dropped here. */
  readonly dropped: number;
  /** Old unsent changes that now have the time of the rejoin. */
  readonly stamped: number;
  /** Objects read. */
  readonly objects: number;
};

/** What the sweeper does, for metrics and logs. Calls must be cheap and never throw. */
export interface SweeperObserver extends RejoinObserver {
  swept(report: SweepReport): void;
}

/** What becomes of a rejoin, as {@link SweeperObserver}. */
export interface RejoinObserver {
  /** This host was away for longer than half the retention: all of the bucket is read. */
  rejoinBegan(lastSyncNs: bigint): void;
  rejoined(report: RejoinReport): void;
  /** It cannot be completed now: this host goes on, but neither drops, sweeps nor cleans. */
  rejoinPostponed(reason: string): void;
}
