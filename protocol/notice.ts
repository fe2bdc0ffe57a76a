import * as z from 'zod';
import { MAX_NOTICE_BYTES, MAX_OBJECT_NAME_LENGTH } from './limits.ts';
import { parseJsonMessage } from './json-message.ts';

const noticeSchema = z.object({
  version: z.literal(1),
  database: z.string().min(1).max(MAX_OBJECT_NAME_LENGTH),
  instance: z.string().max(MAX_OBJECT_NAME_LENGTH),
  name: z.string().min(1).max(MAX_OBJECT_NAME_LENGTH),
  sizeBytes: z.number().int().nonnegative(),
  eventTimeMs: z.number().nonnegative(),
});

/**
 * "Object X exists." At least once, in any order, or never: a hint, no more. Stream and number follow from the
 * name. Fields that a later version adds are ignored.
 */
export type Notice = {
  readonly version: 1;
  readonly database: string;
  /** The writer, which gets no notice of its own objects. */
  readonly instance: string;
  readonly name: string;
  readonly sizeBytes: number;
  /** When the store says that the object was created. */
  readonly eventTimeMs: number;
};

/** The text of a notice: JSON. */
export function encodeNotice(notice: Notice): string {
  const { version, database, instance, name, sizeBytes, eventTimeMs } = notice;
  return JSON.stringify({ version, database, instance, name, sizeBytes, eventTimeMs });
}

/** Parses a notice. Errors: MESSAGE_INVALID. */
export function parseNotice(text: string): Notice {
  return parseJsonMessage(Buffer.from(text, 'utf8'), {
    what: 'notice',
    maxBytes: MAX_NOTICE_BYTES,
    schema: noticeSchema,
  });
}
