import { errorText } from '../../protocol/errors.ts';
import { parseNotice } from '../../protocol/notice.ts';
import { agentQueueTags } from '../../protocol/notice-queue.ts';
import type { Backoff } from '../pacing/backoff.ts';
import { Wakeup } from '../pacing/wakeup.ts';
import type { Logger } from '../log/log.ts';
import { abortedAfter, slept, type Sleep } from '../pacing/sleep.ts';
import type { ReceivedReport } from './observer.ts';
import {
  QUEUE_BATCH_MAX,
  QueueError,
  type QueueMessage,
  type QueueService,
} from './queue-service.ts';
import type { NoticeSource, OnNotice } from './source.ts';

/** Which queue is read. */
export type QueueChoice =
  | { readonly kind: 'url'; readonly url: string }
  | {
      readonly kind: 'name';
      readonly name: string;
      /** Make the queue where there is none, and keep it subscribed to the topic of the fleet. */
      readonly create: boolean;
      /** Beginning of the names of all queues of the fleet. */
      readonly prefix: string;
      /** Who reads it, for its tags and its subscription. */
      readonly instance: string;
    };

export type QueueNoticesOptions = {
  readonly queues: QueueService;
  readonly queue: QueueChoice;
  /** How long one request waits; at most 20 s. */
  readonly waitTimeMs: number;
  /** A listing pass is asked for this often as well: it finds what a lost notice did not tell. */
  readonly safetyIntervalMs: number;
  /** The same while there is no queue. */
  readonly pollIntervalMs: number;
  readonly sleep: Sleep;
  readonly backoff: Backoff;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds of a clock that never steps back. */
  readonly monotonicMs: () => number;
  readonly log: Logger;
  readonly onReceived?: ((report: ReceivedReport) => void) | undefined;
  /** A request to receive succeeded, or failed. */
  readonly onWorked?: (() => void) | undefined;
  readonly onFailed?: ((error: QueueError) => void) | undefined;
};

/**
 * How long received messages stay hidden. They are deleted within {@link DELETE_AFTER_MS} and one more wait, so that they come
 * again only where deleting failed or the agent died; coming again is harmless.
 */
const VISIBILITY_SECONDS = 120;
/** Handled messages wait this long for more of them, so that one request deletes ten. */
const DELETE_AFTER_MS = 30_000;
/** Notices of an agent that is away for longer are useless: it lists when it starts. */
const RETENTION_SECONDS = 4 * 60 * 60;
/** A topic may take some time until it sends to a new subscription. */
const NEW_QUEUE_MS = 65_000;
/** How long the end of the agent waits for the last deletes. */
const LAST_DELETE_MS = 2_000;

/**
 * Receives notices from one queue, whatever number of databases there is. In the steady state it only waits: one request
 * per {@link QueueNoticesOptions.waitTimeMs}, and a listing per safety interval.
 *
 * A message is deleted after its name was handed on: what is handed on and not merged when the agent dies, the listing
 * at the next start finds. Trouble ends in tries that get rarer, with the safety listing going on; where the queue is
 * missing or denied, the storage is polled until it is there.
 */
export class QueueNotices implements NoticeSource {
  readonly kind = 'queue';
  readonly #options: QueueNoticesOptions;
  readonly #handled: string[] = [];
  #oldestHandledMs = 0;
  #deleting: Promise<void> = Promise.resolve();
  #queueUrl: string | undefined;
  /** Quick listings that are still to be made: all the time without a queue, some after it was made. */
  #pollsLeft = 0;
  readonly #paceChanged = new Wakeup();
  readonly #lastDelete = new AbortController();
  #troubled = false;

  constructor(options: QueueNoticesOptions) {
    this.#options = options;
  }

  async run(onNotice: OnNotice, signal: AbortSignal): Promise<void> {
    onNotice('list');
    const ended = new AbortController();
    const running = AbortSignal.any([signal, ended.signal]);
    const loops = [this.#receiveAll(onNotice, running), this.#listAll(onNotice, running)];
    try {
      await Promise.race(loops);
    } finally {
      ended.abort();
      await Promise.allSettled(loops);
      await this.#deleteLast();
    }
  }

  async #listAll(onNotice: OnNotice, signal: AbortSignal): Promise<void> {
    const { safetyIntervalMs, pollIntervalMs, sleep } = this.#options;
    while (!signal.aborted) {
      const waitMs = this.#pollsLeft > 0 ? pollIntervalMs : safetyIntervalMs;
      await this.#paceChanged.wait(signal, waitMs, sleep);
      if (signal.aborted) {
        return;
      }
      if (this.#pollsLeft > 0) {
        this.#pollsLeft -= 1;
      }
      onNotice('list');
    }
  }

  async #receiveAll(onNotice: OnNotice, signal: AbortSignal): Promise<void> {
    const { queues, waitTimeMs, sleep, backoff } = this.#options;
    while (!signal.aborted) {
      try {
        this.#queueUrl ??= await this.#requireQueue(signal);
        const messages = await queues.receive(this.#queueUrl, {
          waitSeconds: Math.max(1, Math.round(waitTimeMs / 1000)),
          visibilitySeconds: VISIBILITY_SECONDS,
          signal,
        });
        this.#worked();
        this.#handOn(messages, onNotice);
        await this.#deleteDue(messages.length === 0);
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        if (!(error instanceof QueueError)) {
          throw error;
        }
        this.#failed(error);
        await slept(sleep, backoff.next(), signal);
      }
    }
  }

  async #requireQueue(signal: AbortSignal): Promise<string> {
    const { queues, queue, pollIntervalMs, log } = this.#options;
    if (queue.kind === 'url') {
      return queue.url;
    }
    const found = await queues.find(queue.name, signal);
    if (!queue.create) {
      if (found === undefined) {
        throw new QueueError('gone', `there is no queue ${queue.name}`);
      }
      return found;
    }
    const { prefix: queuePrefix, instance } = queue;
    const queueUrl =
      found ??
      (await queues.create(queue.name, {
        retentionSeconds: RETENTION_SECONDS,
        visibilitySeconds: VISIBILITY_SECONDS,
        tags: agentQueueTags(instance),
        signal,
      }));
    const chosen = await queues.subscribe(queueUrl, { queuePrefix, instance, signal });
    if (chosen === 'unfiltered') {
      log.warn(
        { queue: queue.name },
        'the topic has no room for the filter of this queue, which gets its own notices, too: have the quota "filter policies per topic" of SNS raised',
      );
    }
    if (found === undefined) {
      log.info({ queue: queue.name }, 'made the queue for notices');
      this.#setPace(Math.ceil(NEW_QUEUE_MS / pollIntervalMs));
    }
    return queueUrl;
  }

  #handOn(messages: readonly QueueMessage[], onNotice: OnNotice): void {
    if (messages.length === 0) {
      return;
    }
    const { now, monotonicMs, log, onReceived } = this.#options;
    const names = new Set<string>();
    const delaysMs: number[] = [];
    let broken = 0;
    for (const { id, body, receipt } of messages) {
      try {
        const { name, eventTimeMs } = parseNotice(body);
        names.add(name);
        delaysMs.push(Math.max(0, now() - eventTimeMs));
      } catch (error) {
        broken += 1;
        log.warn({ message: id, error: errorText(error) }, 'a message is no notice, deleting it');
      }
      if (this.#handled.length === 0) {
        this.#oldestHandledMs = monotonicMs();
      }
      this.#handled.push(receipt);
    }
    // Queues do not keep an order; by name, those of a stream have theirs: a number that seems missing costs a listing.
    if (names.size > 0) {
      onNotice([...names].toSorted());
    }
    onReceived?.({ notices: delaysMs.length, broken, delaysMs });
  }

  /** Deletes what was handed on once it makes a full request, nothing more comes, or it is getting old. */
  async #deleteDue(idle: boolean): Promise<void> {
    const { monotonicMs } = this.#options;
    const old = monotonicMs() - this.#oldestHandledMs >= DELETE_AFTER_MS;
    const due = this.#handled.length >= QUEUE_BATCH_MAX || idle || old;
    if (this.#handled.length === 0 || !due) {
      return;
    }
    // Beside the next receive, one at a time.
    await this.#deleting;
    this.#deleting = this.#delete();
  }

  async #delete(): Promise<void> {
    const { queues, log } = this.#options;
    while (this.#handled.length > 0 && this.#queueUrl !== undefined) {
      const receipts = this.#handled.splice(0, QUEUE_BATCH_MAX);
      try {
        const refused = await queues.delete(this.#queueUrl, receipts, this.#lastDelete.signal);
        if (refused > 0) {
          log.debug({ refused }, 'notices were not deleted and come again');
        }
      } catch (error) {
        log.debug({ error: errorText(error) }, 'notices were not deleted and come again');
        return;
      }
    }
  }

  async #deleteLast(): Promise<void> {
    const { sleep } = this.#options;
    const deleted = this.#deleting.then(() => this.#delete());
    await abortedAfter(deleted, { delayMs: LAST_DELETE_MS, sleep, stop: this.#lastDelete });
  }

  #worked(): void {
    this.#options.backoff.reset();
    this.#options.onWorked?.();
    if (this.#troubled) {
      this.#troubled = false;
      this.#options.log.info({ queue: this.#queueUrl }, 'receiving notices again');
    }
    // What was announced while there was no queue is found by the listing that follows.
    if (this.#pollsLeft === Number.POSITIVE_INFINITY) {
      this.#setPace(0);
    }
  }

  #failed(error: QueueError): void {
    const { log, onFailed } = this.#options;
    const { trouble, message } = error;
    onFailed?.(error);
    if (trouble === 'passing') {
      this.#tell({ error: message }, 'cannot receive notices now, trying again');
      return;
    }
    this.#queueUrl = undefined;
    // Receipts of a queue that is gone mean nothing to another one.
    if (trouble === 'gone') {
      this.#handled.length = 0;
    }
    if (this.#pollsLeft === Number.POSITIVE_INFINITY) {
      log.debug({ error: message }, 'still no notices');
      return;
    }
    this.#troubled = true;
    log.warn(
      { error: message, reason: trouble },
      'no queue of notices: listing the storage as often as without one, until there is',
    );
    this.#setPace(Number.POSITIVE_INFINITY);
  }

  #tell(fields: { error: string }, text: string): void {
    const { log } = this.#options;
    if (this.#troubled) {
      log.debug(fields, text);
    } else {
      log.warn(fields, text);
    }
    this.#troubled = true;
  }

  #setPace(polls: number): void {
    this.#pollsLeft = polls;
    this.#paceChanged.notify();
  }
}
