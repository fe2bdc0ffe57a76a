import type { QueueRequestReport } from './queue-service.ts';
import type { NoticeSource } from './source.ts';

/** What came out of received messages. */
export type ReceivedReport = {
  readonly notices: number;
  /** Messages that are no notices. */
  readonly broken: number;
  /** Milliseconds from the store's event to now, one per notice. */
  readonly delaysMs: readonly number[];
};

/** What happens with notices, for health, metrics and the status page. Calls must be cheap and never throw. */
export interface NoticeObserver {
  /** The source that is used from now on. */
  uses(source: NoticeSource['kind']): void;
  /** The source works, perhaps again. */
  worked(): void;
  /** The source does not work; the storage is listed meanwhile. */
  failed(error: unknown): void;
  /** The update marker was written, so that others look at what is stored here. */
  markerWritten(): void;
  markerFailed(error: unknown): void;
  /** A call to the queue service ended. */
  requested(report: QueueRequestReport): void;
  received(report: ReceivedReport): void;
}
