import type { QueueService, QueueMessage } from '../../agent/notices/queue-service.ts';
import { FanOut, type NoticeTopic } from '../../lambdas/fan-out/fan-out.ts';
import { encodeNotice } from '../../protocol/notice.ts';
import type { SeededRandom } from '../support/random.ts';
import type { Owner, Scheduler } from './time/scheduler.ts';

/** Times in virtual milliseconds, each drawn between its two bounds; they stand for AWS in one region. */
export type QueueTimes = {
  /** From a stored object to S3's message on the ingest queue. */
  readonly eventMs: readonly [number, number];
  /** One request to SQS, there and back. */
  readonly requestMs: readonly [number, number];
  /** From a message on the ingest queue to the begin of the Lambda's work. */
  readonly invokeMs: readonly [number, number];
  /** From a publication to the message on the queue of one agent. */
  readonly deliveryMs: readonly [number, number];
};

/** Requests that are billed, by what they do. */
export type QueueRequests = {
  eventMessages: number;
  lambdaPolls: number;
  lambdaRuns: number;
  lambdaDeletes: number;
  publishes: number;
  /** From the topic to agents' queues; nobody is billed for them. */
  deliveries: number;
  agentReceives: number;
  agentDeletes: number;
};

type Message = { readonly id: string; readonly body: string; visibleAtMs: number };
type Queue = { readonly messages: Map<string, Message>; waiting: Set<() => void> };

const PREFIX = 'notices-';
const INGEST = 'ingest';
/** Lambda reads a queue with five long polls at once. Source: AWS Lambda, "Using Lambda with Amazon SQS". */
const POLLERS = 5;
const LONG_POLL_SECONDS = 20;
const BATCH = 10;
const LAMBDA_VISIBILITY_SECONDS = 180;
/** AWS outlives every agent. */
const AWS: Owner = { isGone: false };

/** SQS, SNS and the fan-out's Lambda in virtual time: the real fan-out between queues that count what is asked of them. */
export class VirtualQueues {
  requests = noRequests();
  readonly #queues = new Map<string, Queue>();
  readonly #scheduler: Scheduler;
  readonly #random: SeededRandom;
  readonly #times: QueueTimes;
  #lastId = 0;

  constructor(scheduler: Scheduler, parts: { random: SeededRandom; times: QueueTimes }) {
    this.#scheduler = scheduler;
    this.#random = parts.random;
    this.#times = parts.times;
    this.#queues.set(INGEST, { messages: new Map(), waiting: new Set() });
    for (let poller = 0; poller < POLLERS; poller += 1) {
      void this.#runLambda();
    }
  }

  /** The queue of one agent, which is there from now on. */
  queueOf(instance: string): string {
    const url = `https://sqs/${PREFIX}${instance}`;
    if (!this.#queues.has(url)) {
      this.#queues.set(url, { messages: new Map(), waiting: new Set() });
    }
    return url;
  }

  /** S3 tells of a new object, some time after it was stored. */
  objectStored(name: string, sizeBytes: number): void {
    const eventTime = new Date(this.#epochMs()).toISOString();
    this.#scheduler.after(this.#draw(this.#times.eventMs), () => {
      this.requests.eventMessages += 1;
      const s3 = { object: { key: encodeURIComponent(name), size: sizeBytes } };
      const record = { eventName: 'ObjectCreated:Put', eventTime, s3 };
      this.#put(INGEST, JSON.stringify({ Records: [record] }));
    });
  }

  /** SQS as one agent sees it, while it lives. */
  forAgent(owner: Owner): QueueService {
    return {
      find: async (name) => this.queueOf(name.slice(PREFIX.length)),
      create: async (name) => this.queueOf(name.slice(PREFIX.length)),
      receive: async (url, { waitSeconds, visibilitySeconds, signal }) => {
        this.requests.agentReceives += 1;
        return this.#receive(url, { waitSeconds, visibilitySeconds, owner, signal });
      },
      delete: async (url, receipts, signal) => {
        this.requests.agentDeletes += 1;
        await this.#request(owner, signal);
        this.#delete(url, receipts);
        return 0;
      },
      subscribe: async () => 'filtered',
      send: async () => {
        throw new Error('agents of this fleet send nothing');
      },
      close: () => undefined,
    };
  }

  forgetRequests(): void {
    this.requests = noRequests();
  }

  async #runLambda(): Promise<void> {
    const fanOut = new FanOut({
      objectPrefix: '',
      nowMs: () => this.#epochMs(),
      topic: this.#topic(),
    });
    for (;;) {
      this.requests.lambdaPolls += 1;
      const messages = await this.#receive(INGEST, {
        waitSeconds: LONG_POLL_SECONDS,
        visibilitySeconds: LAMBDA_VISIBILITY_SECONDS,
        owner: AWS,
      });
      if (messages.length === 0) {
        continue;
      }
      await this.#scheduler.sleep(this.#draw(this.#times.invokeMs), AWS);
      this.requests.lambdaRuns += 1;
      await fanOut.handle(messages.map(({ id, body }) => ({ messageId: id, body })));
      this.requests.lambdaDeletes += 1;
      await this.#request(AWS);
      this.#delete(
        INGEST,
        messages.map(({ receipt }) => receipt),
      );
    }
  }

  /** Every queue but the writer's is subscribed. */
  #topic(): NoticeTopic {
    return {
      publish: async (notices) => {
        this.requests.publishes += 1;
        await this.#request(AWS);
        for (const notice of notices) {
          for (const url of this.#queues.keys()) {
            if (url === INGEST || url.endsWith(`/${PREFIX}${notice.instance}`)) {
              continue;
            }
            this.requests.deliveries += 1;
            this.#scheduler.after(this.#draw(this.#times.deliveryMs), () =>
              this.#put(url, encodeNotice(notice)),
            );
          }
        }
        return [];
      },
    };
  }

  async #receive(
    url: string,
    options: { waitSeconds: number; visibilitySeconds: number; owner: Owner; signal?: AbortSignal },
  ): Promise<QueueMessage[]> {
    const { waitSeconds, visibilitySeconds, owner, signal } = options;
    const untilMs = this.#scheduler.nowMs + waitSeconds * 1000;
    for (;;) {
      const messages = this.#take(url, visibilitySeconds);
      const leftMs = untilMs - this.#scheduler.nowMs;
      if (messages.length > 0 || leftMs < 0.01) {
        await this.#request(owner, signal);
        return messages;
      }
      const { waiting } = this.#queue(url);
      let wake: () => void = () => undefined;
      const woken = (resolve: () => void) => {
        wake = resolve;
        waiting.add(wake);
      };
      try {
        await this.#scheduler.sleepUntil(leftMs, { owner, signal, woken });
      } finally {
        waiting.delete(wake);
      }
    }
  }

  #take(url: string, visibilitySeconds: number): QueueMessage[] {
    const now = this.#scheduler.nowMs;
    const taken: QueueMessage[] = [];
    for (const message of this.#queue(url).messages.values()) {
      if (taken.length === BATCH) {
        break;
      }
      if (message.visibleAtMs > now) {
        continue;
      }
      message.visibleAtMs = now + visibilitySeconds * 1000;
      taken.push({ id: message.id, body: message.body, receipt: message.id });
    }
    return taken;
  }

  #put(url: string, body: string): void {
    const queue = this.#queue(url);
    this.#lastId += 1;
    const id = String(this.#lastId);
    queue.messages.set(id, { id, body, visibleAtMs: this.#scheduler.nowMs });
    // One of those who wait gets it.
    for (const wake of queue.waiting) {
      wake();
    }
  }

  #delete(url: string, receipts: readonly string[]): void {
    for (const receipt of receipts) {
      this.#queue(url).messages.delete(receipt);
    }
  }

  #queue(url: string): Queue {
    const queue = this.#queues.get(url);
    if (queue === undefined) {
      throw new Error(`no such queue: ${url}`);
    }
    return queue;
  }

  #request(owner: Owner, signal?: AbortSignal): Promise<void> {
    return this.#scheduler.sleep(this.#draw(this.#times.requestMs), owner, signal);
  }

  #draw([least, most]: readonly [number, number]): number {
    return least + (most - least) * this.#random.next();
  }

  #epochMs(): number {
    return Number(this.#scheduler.clock.peekNs() / 1_000_000n);
  }
}

function noRequests(): QueueRequests {
  return {
    eventMessages: 0,
    lambdaPolls: 0,
    lambdaRuns: 0,
    lambdaDeletes: 0,
    publishes: 0,
    deliveries: 0,
    agentReceives: 0,
    agentDeletes: 0,
  };
}
