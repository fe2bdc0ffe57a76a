import * as z from 'zod';
import { SyncError } from '../../protocol/errors.ts';

const jobSchema = z.object({ database: z.string().min(1).max(200) });

/** One job of the queue: a database to compact. Further fields only make messages differ. */
export type Job = z.infer<typeof jobSchema>;

/** Parses the body of a job. Errors: MESSAGE_INVALID. */
export function parseJob(body: string): Job {
  try {
    return jobSchema.parse(JSON.parse(body));
  } catch (cause) {
    throw new SyncError('MESSAGE_INVALID', `the job cannot be read: ${body.slice(0, 100)}`, {
      hint: 'Send {"database": "NAME"}.',
      cause,
    });
  }
}
