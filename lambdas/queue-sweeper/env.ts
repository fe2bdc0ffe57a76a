import * as z from 'zod';

/** Environment variables of the queue sweeper. */
export const QUEUE_SWEEPER_ENV = {
  queuePrefix: 'NOTICE_QUEUE_PREFIX',
  unreadDays: 'UNREAD_DAYS',
} as const;

/** What they hold. */
export const queueSweeperEnvSchema = z.object({
  /** Beginning of the names of all agents' queues. */
  [QUEUE_SWEEPER_ENV.queuePrefix]: z.string().min(1),
  /** Days for which a queue may hold notices that nobody takes. */
  [QUEUE_SWEEPER_ENV.unreadDays]: z.coerce.number().positive(),
});
