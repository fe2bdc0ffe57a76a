import { Counter, Histogram, type Registry } from 'prom-client';
import type { QueueRequestReport } from '../notices/queue-service.ts';
import type { ReceivedReport } from '../notices/observer.ts';

const DELAY_BUCKETS = [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** Metrics of the queue of notices; all of them stay empty without one. */
export class NoticeMetrics {
  readonly #requests: Counter<'method'>;
  readonly #errors: Counter<'method' | 'error'>;
  readonly #notices: Counter<'result'>;
  readonly #delay: Histogram;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#requests = new Counter({
      name: 'lightningstream_sqs_requests_total',
      help: 'Requests to SQS',
      labelNames: ['method'],
      registers,
    });
    this.#errors = new Counter({
      name: 'lightningstream_sqs_errors_total',
      help: 'Failed requests to SQS by reason: gone, denied, passing',
      labelNames: ['method', 'error'],
      registers,
    });
    this.#notices = new Counter({
      name: 'lightningstream_notices_total',
      help: 'Messages received from the queue of notices: notice, or broken',
      labelNames: ['result'],
      registers,
    });
    this.#delay = new Histogram({
      name: 'lightningstream_notice_delay_seconds',
      help: 'From the time at which the store created an object to the receipt of its notice',
      buckets: DELAY_BUCKETS,
      registers,
    });
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
