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
