import * as z from 'zod';
import { QUEUE_SWEEPER_ENV } from '../shared/env.ts';

/** What the variables of {@link QUEUE_SWEEPER_ENV} hold. */
export const queueSweeperEnvSchema = z.object({
  /** The topic to which all queues of agents are subscribed. */
  [QUEUE_SWEEPER_ENV.topicArn]: z.string().startsWith('arn:'),
  /** Beginning of the names of all agents' queues. */
  [QUEUE_SWEEPER_ENV.queuePrefix]: z.string().min(1),
  /** Days for which a queue may hold notices that nobody takes. */
  [QUEUE_SWEEPER_ENV.unreadDays]: z.coerce.number().positive(),
});
