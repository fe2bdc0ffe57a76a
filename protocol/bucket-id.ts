import { z } from 'zod';
import { MAX_BUCKET_ID_BYTES } from './limits.ts';
import { parseJsonMessage } from './json-message.ts';

const bucketIdSchema = z.object({
  version: z.literal(1),
  id: z.string().regex(/^[a-z0-9]{12,64}$/),
});

/** The bytes of the bucket id object; whoever finds none creates it, conditionally. The id is 12 to 64 of `[a-z0-9]`. */
export function encodeBucketId(id: string): Uint8Array {
  return Buffer.from(`${JSON.stringify({ version: 1, id })}\n`, 'utf8');
}

/** The random id in a bucket id object. Errors: MESSAGE_INVALID. */
export function parseBucketId(bytes: Uint8Array): string {
  const kind = { what: 'bucket id', maxBytes: MAX_BUCKET_ID_BYTES, schema: bucketIdSchema };
  return parseJsonMessage(bytes, kind).id;
}
