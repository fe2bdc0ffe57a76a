import { eachConcurrently } from '../shared/each-concurrently.ts';
import type { Notice } from '../../protocol/notice.ts';
import { BATCH_ENTRIES, PUBLISH_CONCURRENCY } from './limits.ts';
import { type Dropped, type IngestMessage, parseRecords } from './parse-records.ts';

/** A notice that the topic did not take. */
export type Refused = {
  /** Its place in the request. */
  readonly number: number;
  /** The notice itself is at fault: it would be refused again. */
  readonly isFinal: boolean;
  readonly reason: string;
};

/** The topic to which all agents' queues are subscribed, as the fan-out needs it. */
export interface NoticeTopic {
  /**
   * Publishes notices in one request; resolves with those that were not taken.
   * Errors: anything that the SDK's own retries did not heal.
   */
  publish(notices: readonly Notice[]): Promise<readonly Refused[]>;
}

/** What the fan-out works with. */
export type FanOutOptions = {
  readonly topic: NoticeTopic;
  readonly objectPrefix: string;
  /** Milliseconds since the epoch. */
  readonly nowMs: () => number;
};

/** What one batch came to. */
export type FanOutResult = {
  /** Messages to be delivered again. */
  readonly failedMessageIds: readonly string[];
  /** Why, once per reason. */
  readonly failures: readonly string[];
  readonly dropped: readonly Dropped[];
  readonly notices: number;
  readonly publishedNotices: number;
  readonly publishRequests: number;
  /** Milliseconds from the oldest event to the end; 0 without events. */
  readonly delayMs: number;
};

type Item = { readonly notice: Notice; readonly messageIds: readonly string[] };

/** Publishes what the events of the bucket say. The subscriptions of the agents choose what each of them gets. */
export class FanOut {
  readonly #options: FanOutOptions;

  constructor(options: FanOutOptions) {
    this.#options = options;
  }

  /**
   * Handles one batch of the ingest queue. Requests: one per ten notices, whatever the size of the fleet.
   * A message fails if one of its notices was not published; its others then come twice, which is harmless.
   */
  async handle(messages: readonly IngestMessage[]): Promise<FanOutResult> {
    const { topic, objectPrefix, nowMs } = this.#options;
    const { notices, dropped } = parseRecords(messages, objectPrefix);
    const items = [...notices.values()];
    const failed = new Set<string>();
    const failures = new Set<string>();
    const refusedForGood: Dropped[] = [];
    let publishedNotices = 0;
    const requests = batches(items);
    await eachConcurrently(requests, PUBLISH_CONCURRENCY, async (batch) => {
      const refused = await publish(topic, batch);
      publishedNotices += batch.length - refused.length;
      for (const { number, isFinal, reason } of refused) {
        const messageIds = batch[number]?.messageIds ?? [];
        if (isFinal) {
          refusedForGood.push(...messageIds.map((messageId) => ({ messageId, reason })));
          continue;
        }
        failures.add(reason);
        for (const id of messageIds) {
          failed.add(id);
        }
      }
    });
    const oldestMs = Math.min(...items.map(({ notice }) => notice.eventTimeMs));
    return {
      failedMessageIds: [...failed],
      failures: [...failures],
      dropped: [...dropped, ...refusedForGood],
      notices: items.length,
      publishedNotices,
      publishRequests: requests.length,
      delayMs: items.length === 0 ? 0 : Math.max(nowMs() - oldestMs, 0),
    };
  }
}

async function publish(topic: NoticeTopic, batch: readonly Item[]): Promise<readonly Refused[]> {
  try {
    return await topic.publish(batch.map(({ notice }) => notice));
  } catch (error) {
    // The other batches go out all the same.
    const reason = String(error);
    return batch.map((_, number) => ({ number, isFinal: false, reason }));
  }
}

/** The notices in requests as large as SNS allows. */
function batches(items: readonly Item[]): Item[][] {
  const result: Item[][] = [];
  for (let at = 0; at < items.length; at += BATCH_ENTRIES) {
    result.push(items.slice(at, at + BATCH_ENTRIES));
  }
  return result;
}
