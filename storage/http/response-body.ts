import { Readable } from 'node:stream';

import { SyncError } from '../../protocol/errors.ts';
import type { Deadline } from '../deadline.ts';
import { timerMs } from '../../protocol/time.ts';
import type { FetchedObject } from '../object-store.ts';

type ResponseBodyOptions = {
  readonly name: string;
  /** Content-Length; undefined where the server sent none. */
  readonly expectedBytes: number | undefined;
  readonly stallTimeoutMs: number;
  /** Of the whole download; disposed here. */
  readonly deadline: Deadline;
  /** What an error of the stream becomes. */
  readonly mapped: (error: unknown) => unknown;
};

/** What a storage answered to a GET, in the words that both SDKs share. */
export type ObjectResponse = {
  /** The body, as the SDK gives it. */
  readonly stream: unknown;
  /** Content-Length; undefined where the server sent none. */
  readonly contentLength: number | undefined;
  /** Content-Range; undefined for a whole object. */
  readonly contentRange: string | undefined;
  readonly etag: string;
};

/** The object of a response: its whole size, also where only a range of it was asked for. */
export function fetchedFrom(
  { stream, contentLength, contentRange = '', etag }: ObjectResponse,
  options: Omit<ResponseBodyOptions, 'expectedBytes'>,
): FetchedObject {
  if (!(stream instanceof Readable)) {
    throw new Error('the SDK gave no stream');
  }
  const total = /\/(\d+)$/.exec(contentRange)?.[1];
  return {
    sizeBytes: total === undefined ? (contentLength ?? 0) : Number(total),
    etag,
    body: readResponseBody(stream, { ...options, expectedBytes: contentLength }),
  };
}

/**
 * The chunks of a response. Fails when it is cut off, stands still, or is aborted; a reader that stops early ends the
 * connection. A response that nobody reads is ended by its deadline.
 */
function readResponseBody(
  stream: Readable,
  options: ResponseBodyOptions,
): AsyncGenerator<Uint8Array, void, void> {
  const { deadline } = options;
  const onAbort = () => stream.destroy();
  deadline.signal.addEventListener('abort', onAbort, { once: true });
  // A stream that fails before anybody reads it must not end the process; a reader gets the error all the same.
  stream.on('error', () => undefined);
  stream.once('close', () => {
    deadline[Symbol.dispose]();
  });
  return chunksOf(stream, options);
}

async function* chunksOf(
  stream: Readable,
  options: ResponseBodyOptions,
): AsyncGenerator<Uint8Array, void, void> {
  const { name, expectedBytes, stallTimeoutMs, deadline, mapped } = options;
  let stalled = false;
  const startStall = () =>
    setTimeout(() => {
      stalled = true;
      stream.destroy();
    }, timerMs(stallTimeoutMs));
  let stall = startStall();
  let total = 0;
  let reading = true;
  const problem = (text: string): SyncError =>
    new SyncError('STORAGE_FAILED', `cannot load ${name}: ${text}`, {
      hint: 'Check the network to the storage if it stays.',
      retryable: true,
    });
  const endedEarly = (): unknown => {
    if (deadline.signal.aborted) {
      return deadline.signal.reason;
    }
    return stalled
      ? problem(`no byte came for ${stallTimeoutMs} ms after ${total}`)
      : problem(`the download ended after ${total} of ${expectedBytes ?? 'unknown'} bytes`);
  };
  try {
    for await (const chunk of stream) {
      if (!(chunk instanceof Uint8Array)) {
        throw problem('the response is not binary');
      }
      if (deadline.signal.aborted) {
        throw endedEarly();
      }
      total += chunk.byteLength;
      // The reader's own work between two chunks is no stall.
      reading = false;
      clearTimeout(stall);
      yield chunk;
      reading = true;
      stall = startStall();
    }
    if (stalled || deadline.signal.aborted || total !== (expectedBytes ?? total)) {
      throw endedEarly();
    }
  } catch (error) {
    if (!reading || error instanceof SyncError) {
      throw error;
    }
    throw stalled || deadline.signal.aborted ? endedEarly() : mapped(error);
  } finally {
    clearTimeout(stall);
    stream.destroy();
    deadline[Symbol.dispose]();
  }
}
