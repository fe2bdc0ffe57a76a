import { isAgentQueue } from '../../protocol/notice-queue.ts';

/** Tag with the time (ISO 8601) since when the sweeper has found notices that nobody took. */
export const UNREAD_SINCE_TAG = 'lightningstream-unread-since';

const MS_PER_DAY = 24 * 60 * 60 * 1000;

/** What is known of one queue. */
export type QueueState = {
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
  queue: QueueState,
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

/** The queues, as the sweeper needs them. */
export interface SweptQueues {
  /** URLs of the queues whose names begin with the prefix. */
  list(prefix: string): Promise<readonly string[]>;
  state(queueUrl: string): Promise<QueueState>;
  mark(queueUrl: string, since: string): Promise<void>;
  unmark(queueUrl: string): Promise<void>;
  remove(queueUrl: string): Promise<void>;
}

/** What one sweep came to. */
export type SweepResult = {
  readonly queues: number;
  readonly marked: readonly string[];
  readonly removed: readonly string[];
  /** Queues that could not be looked at or changed, with the reason. */
  readonly failed: readonly { readonly queueUrl: string; readonly reason: string }[];
};

/** Looks at all queues of the fleet, one after the other; trouble with one does not keep it from the next. */
export async function sweepQueues(
  queues: SweptQueues,
  options: { readonly queuePrefix: string; readonly nowMs: number; readonly unreadDays: number },
): Promise<SweepResult> {
  const urls = await queues.list(options.queuePrefix);
  const marked: string[] = [];
  const removed: string[] = [];
  const failed: { queueUrl: string; reason: string }[] = [];
  for (const queueUrl of urls) {
    try {
      switch (nextStep(await queues.state(queueUrl), options)) {
        case 'mark':
          await queues.mark(queueUrl, new Date(options.nowMs).toISOString());
          marked.push(queueUrl);
          break;
        case 'unmark':
          await queues.unmark(queueUrl);
          break;
        case 'remove':
          await queues.remove(queueUrl);
          removed.push(queueUrl);
          break;
        case 'keep':
          break;
      }
    } catch (error) {
      failed.push({ queueUrl, reason: String(error) });
    }
  }
  return { queues: urls.length, marked, removed, failed };
}
