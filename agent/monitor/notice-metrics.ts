import type { Counter, Histogram, Registry } from 'prom-client';
import { MetricMaker } from './metric-maker.ts';
import type { QueueRequestReport } from '../notices/queue-service.ts';
import type { ReceivedReport } from '../notices/observer.ts';

const DELAY_BUCKETS = [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

const METHODS = ['find', 'create', 'subscribe', 'receive', 'delete', 'send'] as const;

/** Metrics of the queue of notices; all of them stay 0 without one. */
export class NoticeMetrics {
  readonly #requests: Counter<'method'>;
  readonly #errors: Counter<'method' | 'error'>;
  readonly #notices: Counter<'result'>;
  readonly #delay: Histogram;

  constructor(registry: Registry) {
    const make = new MetricMaker(registry);
    this.#requests = make.counter(
      'sqs_requests_total',
      'Requests to SQS, and to SNS for a subscription',
      { method: METHODS },
    );
    this.#errors = make.counter(
      'sqs_errors_total',
      'Failed requests to SQS by reason: gone, denied, passing',
      { method: METHODS, error: ['gone', 'denied', 'passing'] },
    );
    this.#notices = make.counter(
      'notices_total',
      'Messages received from the queue of notices: notice, or broken',
      { result: ['notice', 'broken'] },
    );
    this.#delay = make.histogram(
      'notice_delay_seconds',
      'From the time at which the store created an object to the receipt of its notice',
      { labels: {}, buckets: DELAY_BUCKETS },
    );
  }

  onRequest({ kind, requests, trouble }: QueueRequestReport): void {
    const method = kind.slice('sqs-'.length);
    this.#requests.inc({ method }, requests);
    if (trouble !== undefined) {
      this.#errors.inc({ method, error: trouble });
    }
  }

  onReceived({ notices, broken, delaysMs }: ReceivedReport): void {
    this.#notices.inc({ result: 'notice' }, notices);
    this.#notices.inc({ result: 'broken' }, broken);
    for (const delayMs of delaysMs) {
      this.#delay.observe(delayMs / 1000);
    }
  }
}
