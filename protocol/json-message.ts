import type { z } from 'zod';
import { SyncError } from './errors.ts';

/** How {@link parseJsonMessage} reads one kind of message. */
export type JsonMessageKind<T> = {
  readonly what: string;
  readonly maxBytes: number;
  readonly schema: z.ZodType<T>;
};

/** Bytes to a typed message. Errors: MESSAGE_INVALID, with the path of the first thing that is wrong. */
export function parseJsonMessage<T>(bytes: Uint8Array, kind: JsonMessageKind<T>): T {
  if (bytes.length > kind.maxBytes) {
    throw invalid(kind.what, `${bytes.length} bytes, at most ${kind.maxBytes} are allowed`);
  }
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (error) {
    throw invalid(kind.what, 'not JSON', error);
  }
  const parsed = kind.schema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw invalid(
      kind.what,
      `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}`,
      parsed.error,
    );
  }
  return parsed.data;
}

function invalid(what: string, message: string, cause?: unknown): SyncError {
  return new SyncError('MESSAGE_INVALID', `${what} cannot be read: ${message}`, {
    hint: 'Check what else writes to this bucket or queue.',
    cause,
  });
}
