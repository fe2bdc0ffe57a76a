/** One received message. */
export type QueueMessage = {
  readonly id: string;
  readonly body: string;
  /** What deletes it. */
  readonly receipt: string;
};

/**
 * What stands behind a failed request. gone: there is no such queue; denied: this agent is not let in, or the
 * configuration is wrong; passing: anything that heals by itself.
 */
export type QueueTrouble = 'gone' | 'denied' | 'passing';

/** A request to the queue service that failed; its message is one line without secrets. */
export class QueueError extends Error {
  readonly trouble: QueueTrouble;
  /** How the service calls it. */
  readonly reason: string;

  constructor(trouble: QueueTrouble, message: string, reason = '') {
    super(message);
    this.name = 'QueueError';
    this.trouble = trouble;
    this.reason = reason;
  }
}

export type ReceiveOptions = {
  /** How long the service waits for a first message; whole seconds. */
  readonly waitSeconds: number;
  /** How long received messages stay hidden from other receives; whole seconds. */
  readonly visibilitySeconds: number;
  readonly signal: AbortSignal;
};

export type CreateQueueOptions = {
  readonly retentionSeconds: number;
  readonly visibilitySeconds: number;
  readonly tags: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
};

export type SubscribeOptions = {
  /** Of the fleet's queues, and so of its topic. */
  readonly queuePrefix: string;
  /** Who reads the queue: what it stores itself is left out. */
  readonly instance: string;
  readonly signal: AbortSignal;
};

/** Messages per request at most. Source: SQS quotas. */
export const QUEUE_BATCH_MAX = 10;

/** A message queue service as the agent needs it. Every call rejects with a {@link QueueError}. */
export interface QueueService {
  /** The URL of a queue by its name; undefined: there is none. */
  find(name: string, signal: AbortSignal): Promise<string | undefined>;
  create(name: string, options: CreateQueueOptions): Promise<string>;
  /**
   * Subscribes a queue to the fleet's topic, unless it is subscribed. Notices of all databases come: a filter by
   * them would have to be changed later, and the right to that holds for every subscription of the account.
   * "unfiltered": the topic has no room for one more filter, and the queue gets the instance's own notices, too.
   */
  subscribe(queueUrl: string, options: SubscribeOptions): Promise<'filtered' | 'unfiltered'>;
  /** Up to {@link QUEUE_BATCH_MAX} messages; none when the wait is over. */
  receive(queueUrl: string, options: ReceiveOptions): Promise<readonly QueueMessage[]>;
  /** Deletes up to {@link QUEUE_BATCH_MAX} messages; resolves with how many of them the service refused to. */
  delete(queueUrl: string, receipts: readonly string[], signal: AbortSignal): Promise<number>;
  /** Sends up to {@link QUEUE_BATCH_MAX} messages; resolves with how many were refused. */
  send(queueUrl: string, bodies: readonly string[], signal: AbortSignal): Promise<number>;
  close(): void;
}

/** A kind of request, as metrics, the status page and the cost estimate name it. */
export type QueueRequestKind =
  | 'sqs-find'
  | 'sqs-create'
  | 'sqs-subscribe'
  | 'sqs-receive'
  | 'sqs-delete'
  | 'sqs-send';

/** One call that ended. */
export type QueueRequestReport = {
  readonly kind: QueueRequestKind;
  /** Requests that the call took: more than one where the SDK tried again. */
  readonly requests: number;
  readonly trouble: QueueTrouble | undefined;
};
