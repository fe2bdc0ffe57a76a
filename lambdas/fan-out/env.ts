import * as z from 'zod';
import { FAN_OUT_ENV } from '../shared/env.ts';

/** What the variables of {@link FAN_OUT_ENV} hold. */
export const fanOutEnvSchema = z.object({
  /** The topic to which all queues of agents are subscribed. */
  [FAN_OUT_ENV.topicArn]: z.string().startsWith('arn:'),
  /** What stands before every object name in the bucket; may be empty. */
  [FAN_OUT_ENV.objectPrefix]: z.string(),
});
