import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { ObjectBody } from '../storage/object-store.ts';

/**
 * The bytes of one object (compressed) on their way between storage and LMDB: whole, readable more than once, and
 * in a temporary file when large, so that memory does not grow with the database. Can be sent to another thread.
 */
export type Spool =
  | { readonly kind: 'memory'; readonly bytes: Uint8Array }
  | { readonly kind: 'file'; readonly path: string; readonly sizeBytes: number };

export type SpoolOptions = {
  /** Up to this size the bytes stay in memory. */
  readonly memoryBytes: number;
  readonly folder: string;
};

const READ_CHUNK_BYTES = 256 * 1024;

/** Collects bytes; turns to a file by itself when they become many. Ends with {@link finish} or {@link discard}. */
export class SpoolWriter {
  readonly #options: SpoolOptions;
  #chunks: Uint8Array[] = [];
  #sizeBytes = 0;
  #file: { handle: FileHandle; path: string } | undefined;

  constructor(options: SpoolOptions) {
    this.#options = options;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** The chunk belongs to the spool from now on. */
  async write(chunk: Uint8Array): Promise<void> {
    this.#sizeBytes += chunk.length;
    if (this.#file === undefined) {
      this.#chunks.push(chunk);
      if (this.#sizeBytes <= this.#options.memoryBytes) {
        return;
      }
      const path = join(
        this.#options.folder,
        `lightningstream-${randomBytes(8).toString('hex')}.spool`,
      );
      this.#file = { handle: await open(path, 'wx', 0o600), path };
      const collected = this.#chunks;
      this.#chunks = [];
      for (const part of collected) {
        await writeAll(this.#file.handle, part);
      }
      return;
    }
    await writeAll(this.#file.handle, chunk);
  }

  async finish(): Promise<Spool> {
    if (this.#file !== undefined) {
      const { handle, path } = this.#file;
      await handle.close();
      return { kind: 'file', path, sizeBytes: this.#sizeBytes };
    }
    const [only] = this.#chunks;
    const bytes =
      this.#chunks.length === 1 && only !== undefined ? only : Buffer.concat(this.#chunks);
    return { kind: 'memory', bytes };
  }

  async discard(): Promise<void> {
    this.#chunks = [];
    if (this.#file === undefined) {
      return;
    }
    await this.#file.handle.close().catch(() => undefined);
    await unlink(this.#file.path).catch(() => undefined);
  }
}

/** Reads a body to its end. Rejects as the body does; nothing is left behind then. */
export async function writeSpool(
  body: AsyncIterable<Uint8Array>,
  options: SpoolOptions,
): Promise<Spool> {
  const writer = new SpoolWriter(options);
  try {
    for await (const chunk of body) {
      await writer.write(chunk);
    }
    return await writer.finish();
  } catch (error) {
    await writer.discard();
    throw error;
  }
}

/** The bytes from the start, in chunks; any number of times, until {@link discardSpool}. */
export async function* readSpool(spool: Spool): AsyncIterable<Uint8Array> {
  if (spool.kind === 'memory') {
    yield spool.bytes;
    return;
  }
  const stream = createReadStream(spool.path, { highWaterMark: READ_CHUNK_BYTES });
  yield* stream as AsyncIterable<Buffer>;
}

function spoolSizeBytes(spool: Spool): number {
  return spool.kind === 'memory' ? spool.bytes.length : spool.sizeBytes;
}

/** The spool as something to store. */
export function spoolBody(spool: Spool): ObjectBody {
  return { sizeBytes: spoolSizeBytes(spool), open: () => readSpool(spool) };
}

/** Removes the temporary file, if there is one. Idempotent. */
export async function discardSpool(spool: Spool): Promise<void> {
  if (spool.kind === 'file') {
    await unlink(spool.path).catch(() => undefined);
  }
}

async function writeAll(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let written = 0; written < chunk.length;) {
    const { bytesWritten } = await handle.write(chunk, written);
    written += bytesWritten;
  }
}
