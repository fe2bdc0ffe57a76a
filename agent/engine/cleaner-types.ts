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
