import type { z } from 'zod';
import { SyncError } from '../../protocol/errors.ts';

/** Environment variables to a typed value, once at the start. Errors: CONFIG_INVALID, naming the first that is wrong. */
export function parseEnvironment<T>(schema: z.ZodType<T>, processEnv: NodeJS.ProcessEnv): T {
  const parsed = schema.safeParse(processEnv);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new SyncError(
      'CONFIG_INVALID',
      `environment variable ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}`,
      { hint: 'Deploy the stack again: it sets all of them.' },
    );
  }
  return parsed.data;
}
