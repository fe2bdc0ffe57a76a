import { checkedChunks } from './bodies.ts';
import { PART_BYTES, PARTS_MAX } from './limits.ts';
import type { ObjectBody } from './object-store.ts';

/** One part of a body, in order from 1. */
export type Part = { readonly number: number; readonly bytes: Uint8Array };

/** Size of all parts but the last: {@link PART_BYTES}, more where the bound on the number of parts asks for it. */
function partBytesFor(sizeBytes: number): number {
  return Math.max(PART_BYTES, Math.ceil(sizeBytes / PARTS_MAX));
}

/**
 * Cuts a body into parts and runs `upload` on them, `concurrency` at once; returns the results in order.
 * Memory: that many parts and one being filled. The first failure aborts the others' signal, and all have ended when this
 * rejects, so that nothing is uploaded after it.
 */
export async function uploadParts<T>(
  body: ObjectBody,
  options: {
    readonly concurrency: number;
    readonly signal: AbortSignal;
    readonly upload: (part: Part, signal: AbortSignal) => Promise<T>;
  },
): Promise<T[]> {
  const { concurrency } = options;
  const stop = new AbortController();
  const forward = () => stop.abort(options.signal.reason);
  options.signal.addEventListener('abort', forward, { once: true });
  const results: T[] = [];
  const running = new Set<Promise<void>>();
  let failed = false;
  let failure: unknown;
  const fail = (error: unknown) => {
    if (!failed) {
      failed = true;
      failure = error;
      stop.abort(error);
    }
  };
  try {
    options.signal.throwIfAborted();
    for await (const part of cutParts(body)) {
      stop.signal.throwIfAborted();
      const one = options
        .upload(part, stop.signal)
        .then((result) => {
          results[part.number - 1] = result;
        }, fail)
        .finally(() => running.delete(one));
      running.add(one);
      if (running.size >= concurrency) {
        await Promise.race(running);
      }
      stop.signal.throwIfAborted();
    }
  } catch (error) {
    fail(error);
  }
  await Promise.all(running);
  options.signal.removeEventListener('abort', forward);
  if (failed) {
    throw failure;
  }
  return results;
}

/** Parts of equal size in buffers of their own; the last one is what is left. Fails if the body's length is wrong. */
async function* cutParts(body: ObjectBody): AsyncGenerator<Part> {
  const partBytes = partBytesFor(body.sizeBytes);
  let left = body.sizeBytes;
  let bytes = new Uint8Array(Math.min(partBytes, left));
  let used = 0;
  let number = 1;
  for await (const chunk of checkedChunks(body)) {
    for (let at = 0; at < chunk.byteLength;) {
      const count = Math.min(chunk.byteLength - at, bytes.byteLength - used);
      bytes.set(chunk.subarray(at, at + count), used);
      at += count;
      used += count;
      if (used === bytes.byteLength && used < left) {
        yield { number, bytes };
        left -= used;
        number += 1;
        used = 0;
        bytes = new Uint8Array(Math.min(partBytes, left));
      }
    }
  }
  // The last part goes out only now that the whole body is known to have its right length.
  yield { number, bytes };
}
