import { SyncError } from '../protocol/errors.ts';

/** The whole of a small body; one longer than `maxBytes` is refused (MESSAGE_INVALID), not read. */
export async function readBounded(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > maxBytes) {
      throw new SyncError('MESSAGE_INVALID', `object too large: more than ${maxBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}
