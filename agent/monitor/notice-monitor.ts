import type { NoticeObserver, ReceivedReport } from '../notices/observer.ts';
import type { QueueRequestReport } from '../notices/queue-service.ts';
import type { NoticeSource } from '../notices/source.ts';
import type { NoticeHealth } from './notice-health.ts';
import type { NoticeMetrics } from './notice-metrics.ts';

export type NoticeMonitorParts = {
  readonly health: NoticeHealth;
  readonly metrics: NoticeMetrics;
  /** Counts requests for the status page. */
  readonly status: { countQueueRequest(report: QueueRequestReport): void };
};

/** Follows the notices: keeps their health and their metrics, and counts their requests for the status. */
export class NoticeMonitor implements NoticeObserver {
  readonly #parts: NoticeMonitorParts;

  constructor(parts: NoticeMonitorParts) {
    this.#parts = parts;
  }

  uses(source: NoticeSource['kind']): void {
    this.#parts.health.uses(source);
  }

  worked(): void {
    this.#parts.health.worked();
  }

  failed(error: unknown): void {
    this.#parts.health.failed(error);
  }

  markerWritten(): void {
    this.#parts.health.markerWritten();
  }

  markerFailed(error: unknown): void {
    this.#parts.health.markerFailed(error);
  }

  requested(report: QueueRequestReport): void {
    this.#parts.metrics.onRequest(report);
    this.#parts.status.countQueueRequest(report);
  }

  received(report: ReceivedReport): void {
    this.#parts.metrics.onReceived(report);
  }
}
