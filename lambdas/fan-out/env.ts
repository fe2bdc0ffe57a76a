import * as z from 'zod';
import { FAN_OUT_ENV } from '../shared/env.ts';

/** What the variables of {@link FAN_OUT_ENV} hold. */
export const fanOutEnvSchema = z.object({
  /** Beginning of the names of all agents' queues. */
  [FAN_OUT_ENV.queuePrefix]: z.string().min(1),
  /** What stands before every object name in the bucket; may be empty. */
  [FAN_OUT_ENV.objectPrefix]: z.string(),
});
