import type { ObjectBody } from './object-store.ts';

import { SyncError } from '../protocol/errors.ts';

/** A body of bytes that are already in memory; they must not change until it has been stored. */
export function bytesBody(bytes: Uint8Array): ObjectBody {
  return {
    sizeBytes: bytes.byteLength,
    async *open() {
      if (bytes.byteLength > 0) {
        yield bytes;
      }
    },
  };
}

/**
 * All bytes of a body, copied into one buffer of our own. Rejects with STORAGE_FAILED when it is shorter or longer
 * than it said: a wrong length must never become an object.
 */
export async function collectBody(body: ObjectBody, signal: AbortSignal): Promise<Uint8Array> {
  const all = new Uint8Array(body.sizeBytes);
  let used = 0;
  for await (const chunk of checkedChunks(body)) {
    signal.throwIfAborted();
    all.set(chunk, used);
    used += chunk.byteLength;
  }
  return all;
}

/** The body's chunks; fails at the end, or at the first byte too many, when they are not `sizeBytes` together. */
export async function* checkedChunks(body: ObjectBody): AsyncGenerator<Uint8Array, void, void> {
  let total = 0;
  for await (const chunk of body.open()) {
    total += chunk.byteLength;
    if (total > body.sizeBytes) {
      throw lengthError(`more than ${body.sizeBytes}`, body.sizeBytes);
    }
    yield chunk;
  }
  if (total < body.sizeBytes) {
    throw lengthError(String(total), body.sizeBytes);
  }
}

function lengthError(found: string, expected: number): SyncError {
  return new SyncError(
    'STORAGE_FAILED',
    `the body to store has ${found} bytes, ${expected} were announced`,
    {
      hint: 'Check the disk that holds the temporary folder: a file there changed while it was read.',
      retryable: true,
    },
  );
}

/** Reads a body to its end and keeps nothing of it, so that its connection is free again. */
export async function drain(body: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of body) {
    // Only the end matters.
  }
}
