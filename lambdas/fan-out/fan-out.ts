import { type Notice, encodeNotice } from '../../protocol/notice.ts';
import { instanceOfNoticeQueue } from '../../protocol/notice-queue.ts';
import { BATCH_BYTES, BATCH_ENTRIES, QUEUE_CACHE_MS, SEND_CONCURRENCY } from './limits.ts';
import { type Dropped, type IngestMessage, parseRecords } from './parse-records.ts';

/** The agents' queues, as the fan-out needs them. */
export interface NoticeQueues {
  /** URLs of the queues whose names begin with the prefix. */
  list(prefix: string): Promise<readonly string[]>;
  /**
   * Sends messages in one request. "gone": the queue was deleted meanwhile. Otherwise the numbers of the messages
   * that were not taken. Errors: anything that the SDK's own retries did not heal.
   */
  send(queueUrl: string, bodies: readonly string[]): Promise<'gone' | readonly number[]>;
}

/** What the fan-out keeps between invocations. */
export type FanOutOptions = {
  readonly queues: NoticeQueues;
  readonly queuePrefix: string;
  readonly objectPrefix: string;
  /** Milliseconds since the epoch. */
  readonly nowMs: () => number;
};

/** What one batch came to. */
export type FanOutResult = {
  /** Messages to be delivered again. */
  readonly failedMessageIds: readonly string[];
  readonly dropped: readonly Dropped[];
  readonly notices: number;
  readonly sentNotices: number;
  readonly sendRequests: number;
  readonly goneQueues: readonly string[];
  readonly agentQueues: number;
  /** Milliseconds from the oldest event to the end; 0 without events. */
  readonly delayMs: number;
};

type Item = { readonly notice: Notice; readonly messageIds: readonly string[] };

/** Passes notices on to every agent's queue but the writer's. */
export class FanOut {
  readonly #options: FanOutOptions;
  #queueUrls: readonly string[] = [];
  #listedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: FanOutOptions) {
    this.#options = options;
  }

  /**
   * Handles one batch of the ingest queue. Requests: one per queue and ten notices, one per minute to find the queues.
   * A message fails if one of its notices could not be put on one queue; delivered again, it is sent to all again, which is harmless.
   */
  async handle(messages: readonly IngestMessage[]): Promise<FanOutResult> {
    const { notices, dropped } = parseRecords(messages, this.#options.objectPrefix);
    const items = [...notices.values()];
    const failed = new Set<string>();
    const goneQueues: string[] = [];
    let sentNotices = 0;
    let sendRequests = 0;
    const urls = items.length === 0 ? [] : await this.#queues();
    const work = urls.flatMap((url) =>
      batches(items, this.#readerOf(url)).map((batch) => ({ url, batch })),
    );
    await eachConcurrently(work, async ({ url, batch }) => {
      sendRequests += 1;
      const refused = await this.#send(url, batch);
      if (refused === 'gone') {
        goneQueues.push(url);
        return;
      }
      sentNotices += batch.length - refused.length;
      for (const number of refused) {
        for (const id of batch[number]?.messageIds ?? []) {
          failed.add(id);
        }
      }
    });
    if (goneQueues.length > 0) {
      this.#listedAtMs = Number.NEGATIVE_INFINITY;
    }
    const oldestMs = Math.min(...items.map(({ notice }) => notice.eventTimeMs));
    return {
      failedMessageIds: [...failed],
      dropped,
      notices: items.length,
      sentNotices,
      sendRequests,
      goneQueues,
      agentQueues: this.#queueUrls.length,
      delayMs: items.length === 0 ? 0 : Math.max(this.#options.nowMs() - oldestMs, 0),
    };
  }

  #readerOf(queueUrl: string): string {
    return instanceOfNoticeQueue(this.#options.queuePrefix, queueUrl) ?? '';
  }

  async #queues(): Promise<readonly string[]> {
    const { queues, queuePrefix, nowMs } = this.#options;
    const now = nowMs();
    if (now - this.#listedAtMs >= QUEUE_CACHE_MS) {
      this.#queueUrls = await queues.list(queuePrefix);
      this.#listedAtMs = now;
    }
    return this.#queueUrls;
  }

  async #send(url: string, batch: readonly Item[]): Promise<'gone' | readonly number[]> {
    try {
      return await this.#options.queues.send(
        url,
        batch.map(({ notice }) => encodeNotice(notice)),
      );
    } catch {
      // One queue's trouble must not keep the others from their notices: the messages come again.
      return batch.map((_, number) => number);
    }
  }
}

/** The notices for one reader, in requests as large as SQS allows. */
function batches(items: readonly Item[], reader: string): Item[][] {
  const result: Item[][] = [];
  let bytes = 0;
  for (const item of items) {
    if (item.notice.instance === reader) {
      continue;
    }
    const size = Buffer.byteLength(encodeNotice(item.notice));
    const last = result.at(-1);
    if (last === undefined || last.length >= BATCH_ENTRIES || bytes + size > BATCH_BYTES) {
      result.push([item]);
      bytes = size;
    } else {
      last.push(item);
      bytes += size;
    }
  }
  return result;
}

async function eachConcurrently<T>(
  items: readonly T[],
  act: (item: T) => Promise<void>,
): Promise<void> {
  let at = 0;
  const worker = async (): Promise<void> => {
    while (at < items.length) {
      const item = items[at++];
      if (item !== undefined) {
        await act(item);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(SEND_CONCURRENCY, items.length) }, worker));
}
