import * as z from 'zod';
import { QUEUE_SWEEPER_ENV } from '../shared/env.ts';

/** What the variables of {@link QUEUE_SWEEPER_ENV} hold. */
export const queueSweeperEnvSchema = z.object({
  /** Beginning of the names of all agents' queues. */
  [QUEUE_SWEEPER_ENV.queuePrefix]: z.string().min(1),
  /** Days for which a queue may hold notices that nobody takes. */
  [QUEUE_SWEEPER_ENV.unreadDays]: z.coerce.number().positive(),
});
