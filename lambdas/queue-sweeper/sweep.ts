import { eachConcurrently } from '../shared/each-concurrently.ts';
import { isAgentQueue, makerOfQueue } from '../../protocol/notice-queue.ts';

/** Tag with the time (ISO 8601) since when the sweeper has found notices that nobody took. */
export const UNREAD_SINCE_TAG = 'lightningstream-unread-since';

const MS_PER_DAY = 24 * 60 * 60 * 1000;

/** What is known of one queue. */
export type QueueState = {
  readonly queueArn: string;
  readonly tags: Readonly<Record<string, string>>;
  /** Notices that wait. */
  readonly waiting: number;
  /** Notices that somebody has received and not yet deleted. */
  readonly inFlight: number;
};

/** What to do with a queue: nothing, note that it is not read, forget that note, remove it. */
export type QueueStep = 'keep' | 'mark' | 'unmark' | 'remove';

/**
 * Decides about one queue. Notices expire after hours, so one that waits is recent: a queue in which every sweep of several days finds
 * some, and never one in flight, has no reader. A queue without notices costs nothing and proves nothing.
 *
 * An agent whose queue was removed after all makes it anew at its start, or polls and says so.
 */
export function nextStep(
  queue: Omit<QueueState, 'queueArn'>,
  options: { readonly nowMs: number; readonly unreadDays: number },
): QueueStep {
  if (!isAgentQueue(queue.tags)) {
    return 'keep';
  }
  const since = queue.tags[UNREAD_SINCE_TAG];
  if (queue.waiting === 0 || queue.inFlight > 0) {
    return since === undefined ? 'keep' : 'unmark';
  }
  const sinceMs = since === undefined ? Number.NaN : Date.parse(since);
  if (Number.isNaN(sinceMs)) {
    return 'mark';
  }
  return options.nowMs - sinceMs >= options.unreadDays * MS_PER_DAY ? 'remove' : 'keep';
}

/** The queues and the topic that feeds them, as the sweeper needs them. */
export interface SweptQueues {
  /** URLs of the queues whose names begin with the prefix. */
  list(prefix: string): Promise<readonly string[]>;
  state(queueUrl: string): Promise<QueueState>;
  mark(queueUrl: string, since: string): Promise<void>;
  unmark(queueUrl: string): Promise<void>;
  remove(queueUrl: string): Promise<void>;
  /** Subscriptions of queues to the topic: the queue's ARN and the subscription's. */
  subscriptions(): Promise<ReadonlyMap<string, string>>;
  /** Subscribes a queue to the notices of others than the instance, and lets the topic send to it. */
  subscribe(queueUrl: string, instance: string): Promise<void>;
  unsubscribe(subscriptionArn: string): Promise<void>;
  /** False: there is surely no queue with this ARN. */
  exists(queueArn: string): Promise<boolean>;
}

/** What one sweep came to. */
export type SweepResult = {
  readonly queues: number;
  readonly marked: readonly string[];
  readonly removed: readonly string[];
  /** Queues of agents that had not subscribed them: agents from before the topic, or without the right to. */
  readonly subscribed: readonly string[];
  /** Subscriptions whose queue is gone. */
  readonly unsubscribed: readonly string[];
  /** Queues and subscriptions that could not be looked at or changed, with the reason. */
  readonly failed: readonly { readonly queueUrl: string; readonly reason: string }[];
};

export type SweepOptions = {
  readonly queuePrefix: string;
  readonly nowMs: number;
  readonly unreadDays: number;
};

/** Requests under way at once: with 10,000 queues a sweep takes a minute. */
const SWEEP_CONCURRENCY = 10;

/** Looks at all queues of the fleet and their subscriptions; trouble with one does not keep it from the next. */
export async function sweepQueues(
  queues: SweptQueues,
  options: SweepOptions,
): Promise<SweepResult> {
  // Before the queues: a queue is made before its subscription, so that every living one is in the list.
  const subscriptions = await queues.subscriptions();
  const urls = await queues.list(options.queuePrefix);
  const sweep = new Sweep({ queues, options, subscriptions });
  await eachConcurrently(urls, SWEEP_CONCURRENCY, (url) => sweep.queue(url));
  const orphans = [...subscriptions].filter(([arn]) => sweep.isOrphan(arn));
  await eachConcurrently(orphans, SWEEP_CONCURRENCY, ([arn, subscription]) =>
    sweep.orphan(arn, subscription),
  );
  const { marked, removed, subscribed, unsubscribed, failed } = sweep;
  return { queues: urls.length, marked, removed, subscribed, unsubscribed, failed };
}

class Sweep {
  readonly marked: string[] = [];
  readonly removed: string[] = [];
  readonly subscribed: string[] = [];
  readonly unsubscribed: string[] = [];
  readonly failed: { queueUrl: string; reason: string }[] = [];
  readonly #queues: SweptQueues;
  readonly #options: SweepOptions;
  readonly #subscriptions: ReadonlyMap<string, string>;
  readonly #names = new Set<string>();

  constructor(parts: {
    queues: SweptQueues;
    options: SweepOptions;
    subscriptions: ReadonlyMap<string, string>;
  }) {
    this.#queues = parts.queues;
    this.#options = parts.options;
    this.#subscriptions = parts.subscriptions;
  }

  async queue(queueUrl: string): Promise<void> {
    this.#names.add(queueUrl.slice(queueUrl.lastIndexOf('/') + 1));
    try {
      const state = await this.#queues.state(queueUrl);
      await this.#take(nextStep(state, this.#options), { queueUrl, state });
    } catch (error) {
      this.failed.push({ queueUrl, reason: String(error) });
    }
  }

  /** A queue of this fleet that the listing did not show. */
  isOrphan(queueArn: string): boolean {
    const name = queueArn.slice(queueArn.lastIndexOf(':') + 1);
    return name.startsWith(this.#options.queuePrefix) && !this.#names.has(name);
  }

  async orphan(queueArn: string, subscription: string): Promise<void> {
    try {
      // A listing may lag behind; the queue itself is asked for.
      if (!(await this.#queues.exists(queueArn))) {
        await this.#queues.unsubscribe(subscription);
        this.unsubscribed.push(queueArn);
      }
    } catch (error) {
      this.failed.push({ queueUrl: queueArn, reason: String(error) });
    }
  }

  async #take(step: QueueStep, { queueUrl, state }: { queueUrl: string; state: QueueState }) {
    const queues = this.#queues;
    switch (step) {
      case 'mark':
        await queues.mark(queueUrl, new Date(this.#options.nowMs).toISOString());
        this.marked.push(queueUrl);
        break;
      case 'unmark':
        await queues.unmark(queueUrl);
        break;
      case 'remove':
        return this.#remove(queueUrl, state);
      case 'keep':
        break;
    }
    const instance = makerOfQueue(state.tags);
    if (instance !== undefined && !this.#subscriptions.has(state.queueArn)) {
      await queues.subscribe(queueUrl, instance);
      this.subscribed.push(queueUrl);
    }
  }

  /** The subscription first: one without a queue would have the topic try again for weeks. */
  async #remove(queueUrl: string, { queueArn }: QueueState): Promise<void> {
    const subscription = this.#subscriptions.get(queueArn);
    if (subscription !== undefined) {
      await this.#queues.unsubscribe(subscription);
    }
    await this.#queues.remove(queueUrl);
    this.removed.push(queueUrl);
  }
}
