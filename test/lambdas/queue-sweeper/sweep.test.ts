import { agentQueueTags } from '../../../protocol/notice-queue.ts';
import {
  UNREAD_SINCE_TAG,
  sweepQueues,
  nextStep,
  type QueueState,
  type SweptQueues,
} from '../../../lambdas/queue-sweeper/sweep.ts';

const NOW = Date.parse('2024-03-10T00:00:00Z');
const OPTIONS = { nowMs: NOW, unreadDays: 7, queuePrefix: 'p-' };
const made = agentQueueTags('a');
const since = (date: string) => ({ ...made, [UNREAD_SINCE_TAG]: date });

test.each<[string, Omit<QueueState, 'queueArn'>, string]>([
  ['of the stack is kept', { tags: {}, waiting: 9, inFlight: 0 }, 'keep'],
  [
    'of the stack is kept, whatever else it is tagged with',
    { tags: { [UNREAD_SINCE_TAG]: '2020-01-01T00:00:00Z' }, waiting: 9, inFlight: 0 },
    'keep',
  ],
  ['without notices is kept', { tags: made, waiting: 0, inFlight: 0 }, 'keep'],
  ['that is being read is kept', { tags: made, waiting: 5, inFlight: 1 }, 'keep'],
  ['with notices is marked', { tags: made, waiting: 1, inFlight: 0 }, 'mark'],
  [
    'with a mark that cannot be read is marked anew',
    { tags: since('soon'), waiting: 1, inFlight: 0 },
    'mark',
  ],
  [
    'marked yesterday is kept',
    { tags: since('2024-03-09T00:00:00Z'), waiting: 1, inFlight: 0 },
    'keep',
  ],
  [
    'marked a week ago is removed',
    { tags: since('2024-03-03T00:00:00Z'), waiting: 1, inFlight: 0 },
    'remove',
  ],
  [
    'that was emptied loses its mark',
    { tags: since('2024-03-03T00:00:00Z'), waiting: 0, inFlight: 0 },
    'unmark',
  ],
  [
    'that is read again loses its mark',
    { tags: since('2024-03-03T00:00:00Z'), waiting: 3, inFlight: 1 },
    'unmark',
  ],
])('a queue %s', (_, state, wanted) => {
  expect(nextStep(state, OPTIONS)).toBe(wanted);
});

const arnOf = (name: string) => `arn:aws:sqs:eu-west-1:1:${name}`;

/** Queues by name, and the topic's subscriptions. */
class FakeQueues implements SweptQueues {
  readonly states = new Map<string, Omit<QueueState, 'queueArn'> | Error>();
  readonly subscribed = new Map<string, string>();
  /** Queues that exist and that the listing does not show yet. */
  readonly unlisted = new Set<string>();
  readonly removed: string[] = [];

  add(name: string, state: Omit<QueueState, 'queueArn'> | Error, subscribed = true): void {
    this.states.set(name, state);
    if (subscribed) {
      this.subscribed.set(arnOf(name), `sub-${name}`);
    }
  }

  async list(): Promise<readonly string[]> {
    return [...this.states.keys()].map((name) => `https://sqs/1/${name}`);
  }

  async state(queueUrl: string): Promise<QueueState> {
    const name = nameOf(queueUrl);
    const state = this.states.get(name);
    if (state === undefined || state instanceof Error) {
      throw state ?? new Error(`no queue ${name}`);
    }
    return { ...state, queueArn: arnOf(name) };
  }

  async mark(): Promise<void> {}
  async unmark(): Promise<void> {}

  async remove(queueUrl: string): Promise<void> {
    this.removed.push(nameOf(queueUrl));
  }

  async subscriptions(): Promise<ReadonlyMap<string, string>> {
    return new Map(this.subscribed);
  }

  async subscribe(queueUrl: string, instance: string): Promise<void> {
    this.subscribed.set(arnOf(nameOf(queueUrl)), `for ${instance}`);
  }

  async unsubscribe(subscriptionArn: string): Promise<void> {
    for (const [queueArn, subscription] of this.subscribed) {
      if (subscription === subscriptionArn) {
        this.subscribed.delete(queueArn);
      }
    }
  }

  async exists(queueArn: string): Promise<boolean> {
    const name = queueArn.slice(queueArn.lastIndexOf(':') + 1);
    return this.states.has(name) || this.unlisted.has(name);
  }
}

const nameOf = (queueUrl: string) => queueUrl.slice(queueUrl.lastIndexOf('/') + 1);
const UNREAD = { tags: since('2024-01-01T00:00:00Z'), waiting: 2, inFlight: 0 };
const READ = { tags: made, waiting: 0, inFlight: 0 };

test('a queue that cannot be looked at does not keep the sweep from the next', async () => {
  const queues = new FakeQueues();
  queues.add('p-broken', new Error('access denied'));
  queues.add('p-unread', UNREAD);
  expect(await sweepQueues(queues, OPTIONS)).toEqual({
    queues: 2,
    marked: [],
    removed: ['https://sqs/1/p-unread'],
    subscribed: [],
    unsubscribed: [],
    failed: [{ queueUrl: 'https://sqs/1/p-broken', reason: 'Error: access denied' }],
  });
  expect(queues.removed).toEqual(['p-unread']);
});

test('a queue goes with its subscription, and the others keep theirs', async () => {
  const queues = new FakeQueues();
  queues.add('p-unread', UNREAD);
  queues.add('p-a', READ);
  queues.add('p-stack', { tags: {}, waiting: 0, inFlight: 0 });
  await sweepQueues(queues, OPTIONS);
  expect([...queues.subscribed.keys()]).toEqual([arnOf('p-a'), arnOf('p-stack')]);
});

test('a queue that its agent has not subscribed is subscribed for it', async () => {
  const queues = new FakeQueues();
  queues.add('p-a', READ, false);
  // The stack subscribes its own.
  queues.add('p-stack', { tags: {}, waiting: 0, inFlight: 0 }, false);
  const { subscribed } = await sweepQueues(queues, OPTIONS);
  expect(subscribed).toEqual(['https://sqs/1/p-a']);
  expect([...queues.subscribed]).toEqual([[arnOf('p-a'), 'for a']]);
});

test('a subscription whose queue is gone is removed, one whose queue is only not listed yet stays', async () => {
  const queues = new FakeQueues();
  queues.add('p-a', READ);
  for (const name of ['p-gone', 'p-new', 'other-fleet']) {
    queues.subscribed.set(arnOf(name), `sub-${name}`);
  }
  queues.unlisted.add('p-new');
  const { unsubscribed } = await sweepQueues(queues, OPTIONS);
  expect(unsubscribed).toEqual([arnOf('p-gone')]);
  expect([...queues.subscribed.keys()]).toEqual(['p-a', 'p-new', 'other-fleet'].map(arnOf));
});
