import { pipeline } from 'node:stream/promises';
import { constants, createGunzip, gunzipSync } from 'node:zlib';
import {
  DECOMPRESSION_ALLOWANCE_BYTES,
  GUNZIP_CHUNK_BYTES,
  INLINE_COMPRESSED_BYTES,
  INLINE_DECOMPRESSED_BYTES,
  MAX_DECOMPRESSED_BYTES,
  MAX_DECOMPRESSION_RATIO,
} from './limits.ts';
import { corrupt } from './protobuf.ts';

/** Bounds of the decompressed size. */
export type GunzipLimits = {
  readonly decompressedBytes?: number | undefined;
  /** Decompressed per compressed byte, above {@link ratioAllowanceBytes}. */
  readonly ratio?: number | undefined;
  readonly ratioAllowanceBytes?: number | undefined;
};

/** Options of {@link gunzip}. */
export type GunzipOptions = {
  readonly signal?: AbortSignal | undefined;
  readonly limits?: GunzipLimits | undefined;
  /** The bytes may end anywhere: what comes out before is handed on, without a checksum. */
  readonly mayBeCutOff?: boolean | undefined;
};

/**
 * Decompresses gzip, one or more members, and hands the chunks to `push`, each borrowed until the call returns. With backpressure;
 * never more than a few chunks are in memory.
 *
 * Errors: SNAPSHOT_CORRUPT for damage, for bytes behind the last member (as upstream; `node:zlib` alone ignores zeros there), and
 * for more bytes than the limits allow; what the source or `push` throws; AbortError.
 */
export async function gunzip(
  chunks: AsyncIterable<Uint8Array>,
  push: (chunk: Uint8Array) => void,
  options: GunzipOptions = {},
): Promise<void> {
  const source = chunks[Symbol.asyncIterator]();
  try {
    const first: Uint8Array[] = [];
    let bytes = 0;
    let ended = false;
    while (!ended && bytes <= INLINE_COMPRESSED_BYTES) {
      options.signal?.throwIfAborted();
      const next = await source.next();
      ended = next.done === true;
      if (next.done !== true) {
        first.push(next.value);
        bytes += next.value.length;
      }
    }
    const inline = ended ? gunzipInline(Buffer.concat(first), options) : undefined;
    if (inline !== undefined) {
      push(inline);
    } else {
      await gunzipStream(rejoin(first, ended ? undefined : source), push, options);
    }
  } finally {
    await source.return?.();
  }
}

async function* rejoin(
  first: readonly Uint8Array[],
  rest: AsyncIterator<Uint8Array> | undefined,
): AsyncGenerator<Uint8Array> {
  yield* first;
  for (let next = await rest?.next(); next !== undefined && next.done !== true;) {
    yield next.value;
    next = await rest?.next();
  }
}

/** A small object in one call; undefined if it comes out too large for that. */
function gunzipInline(bytes: Buffer, options: GunzipOptions): Uint8Array | undefined {
  const allowed = options.limits?.decompressedBytes ?? MAX_DECOMPRESSED_BYTES;
  try {
    // `info` gives the engine as well, which the types of Node leave out.
    const { buffer, engine } = gunzipSync(bytes, {
      info: true,
      maxOutputLength: Math.min(INLINE_DECOMPRESSED_BYTES, allowed),
      ...flushOptions(options),
    }) as unknown as { buffer: Uint8Array; engine: { bytesWritten: number } };
    requireAllRead(engine.bytesWritten, bytes.length, options);
    return buffer;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
      return undefined;
    }
    throw gzipError(error);
  }
}

async function gunzipStream(
  chunks: AsyncIterable<Uint8Array>,
  push: (chunk: Uint8Array) => void,
  options: GunzipOptions,
): Promise<void> {
  const engine = createGunzip({ chunkSize: GUNZIP_CHUNK_BYTES, ...flushOptions(options) });
  const limits = options.limits ?? {};
  const allowance = limits.ratioAllowanceBytes ?? DECOMPRESSION_ALLOWANCE_BYTES;
  const ratio = limits.ratio ?? MAX_DECOMPRESSION_RATIO;
  const allowed = limits.decompressedBytes ?? MAX_DECOMPRESSED_BYTES;
  let read = 0;
  let written = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      read += chunk.length;
      yield chunk;
    }
  };
  const consume = async (decompressed: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const chunk of decompressed) {
      written += chunk.length;
      if (written > allowed || (written > allowance && written > ratio * read)) {
        throw corrupt(`${read} compressed bytes became more than ${written}: beyond the limit`);
      }
      push(chunk);
    }
  };
  try {
    await pipeline(
      counted,
      engine,
      consume,
      options.signal === undefined ? {} : { signal: options.signal },
    );
  } catch (error) {
    throw gzipError(error);
  }
  requireAllRead(engine.bytesWritten, read, options);
}

function flushOptions(options: GunzipOptions): { finishFlush?: number } {
  return options.mayBeCutOff === true ? { finishFlush: constants.Z_SYNC_FLUSH } : {};
}

function requireAllRead(consumed: number, given: number, options: GunzipOptions): void {
  if (consumed < given && options.mayBeCutOff !== true) {
    throw corrupt(`${given - consumed} bytes follow the gzip data`);
  }
}

/** zlib's codes begin with "Z_"; everything else is somebody else's error. */
function gzipError(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (typeof code === 'string' && code.startsWith('Z_')) {
    return corrupt(`the gzip data is damaged or cut off: ${(error as Error).message}`, error);
  }
  return error;
}
