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

test.each<[string, QueueState, string]>([
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

test('a queue that cannot be looked at does not keep the sweep from the next', async () => {
  const removed: string[] = [];
  const queues: SweptQueues = {
    list: async () => ['broken', 'unread'],
    async state(queueUrl) {
      if (queueUrl === 'broken') {
        throw new Error('access denied');
      }
      return { tags: since('2024-01-01T00:00:00Z'), waiting: 2, inFlight: 0 };
    },
    mark: async () => {},
    unmark: async () => {},
    async remove(queueUrl) {
      removed.push(queueUrl);
    },
  };
  expect(await sweepQueues(queues, OPTIONS)).toEqual({
    queues: 2,
    marked: [],
    removed: ['unread'],
    failed: [{ queueUrl: 'broken', reason: 'Error: access denied' }],
  });
  expect(removed).toEqual(['unread']);
});
