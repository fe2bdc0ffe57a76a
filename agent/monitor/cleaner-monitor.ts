import { errorText } from '../../protocol/errors.ts';
import type { CleanerObserver, CleanerReport } from '../engine/housekeeping-types.ts';
import type { Superfluous } from '../engine/cleaning-rule.ts';
import type { Logger } from '../log/log.ts';
import type { SyncerMetrics } from './syncer-metrics.ts';

export type CleanerMonitorDeps = {
  readonly name: string;
  readonly metrics: SyncerMetrics;
  readonly log: Logger;
};

/** Counts and logs what one database's cleaner does, under upstream's names. */
export class CleanerMonitor implements CleanerObserver {
  readonly #name: string;
  readonly #metrics: SyncerMetrics;
  readonly #log: Logger;

  constructor(deps: CleanerMonitorDeps) {
    this.#name = deps.name;
    this.#metrics = deps.metrics;
    this.#log = deps.log.child({ component: 'cleaner' });
  }

  listed(): void {
    this.#metrics.cleanerListCalls.inc();
  }

  listFailed(): void {
    this.#metrics.cleanerListCalls.inc();
    this.#metrics.cleanerListFailed.inc();
  }

  deleted({ object, reason }: Superfluous): void {
    this.#metrics.cleanerDeletes.inc({ lmdb: this.#name, reason });
    this.#log.debug({ filename: object.name, reason }, 'deleted');
  }

  deleteFailed({ object, reason }: Superfluous, error: unknown): void {
    this.#metrics.cleanerDeletes.inc({ lmdb: this.#name, reason });
    this.#metrics.cleanerDeleteFailed.inc();
    this.#log.debug({ filename: object.name, error: errorText(error) }, 'cannot delete');
  }

  finished({ deleted, failed, listed }: CleanerReport): void {
    const fields = { cleaned: deleted, failed, total: listed };
    if (failed > 0) {
      this.#log.warn(fields, 'cleaner run: some objects could not be deleted');
    } else {
      this.#log.debug(fields, 'cleaner run');
    }
  }
}
