import * as z from 'zod';

/** Environment variables of the fan-out Lambda. */
export const FAN_OUT_ENV = {
  queuePrefix: 'NOTICE_QUEUE_PREFIX',
  objectPrefix: 'OBJECT_PREFIX',
} as const;

/** What they hold. */
export const fanOutEnvSchema = z.object({
  /** Beginning of the names of all agents' queues. */
  [FAN_OUT_ENV.queuePrefix]: z.string().min(1),
  /** What stands before every object name in the bucket; may be empty. */
  [FAN_OUT_ENV.objectPrefix]: z.string(),
});
