import assert from 'node:assert';
import { randomBytes } from 'node:crypto';
import { close, open, read, write } from 'node:fs';
import { readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errorText, SyncError } from '../protocol/errors.ts';
import type { ObjectBody } from '../storage/object-store.ts';

const openFile = promisify(open);
const readFile = promisify(read);
const writeFile = promisify(write);
const closeFile = promisify(close);

/**
 * The bytes of one object (compressed) on their way between storage and LMDB: whole, readable more than once, and
 * in a temporary file when large, so that memory does not grow with the database. Can be sent to another thread.
 *
 * The file has no name any more. So a run that is killed leaves nothing, and nobody who tidies up the folder can take
 * it away. The descriptor belongs to whoever has the spool, until {@link discardSpool}.
 */
export type Spool =
  | { readonly kind: 'memory'; readonly bytes: Uint8Array }
  | { readonly kind: 'file'; readonly fd: number; readonly sizeBytes: number };

export type SpoolOptions = {
  /** Up to this size the bytes stay in memory. */
  readonly memoryBytes: number;
  readonly folder: string;
};

const READ_CHUNK_BYTES = 256 * 1024;
/** Versions that gave their files a name needed them for minutes; one of this age is of a run that was killed. */
const LEFT_BEHIND_MS = 24 * 3_600_000;
const FILE_NAME = /^lightningstream-[0-9a-f]{16}\.spool$/;

/** Collects bytes; turns to a file by itself when they become many. Ends with {@link finish} or {@link discard}. */
export class SpoolWriter {
  readonly #options: SpoolOptions;
  #chunks: Uint8Array[] = [];
  #sizeBytes = 0;
  #fd: number | undefined;

  constructor(options: SpoolOptions) {
    this.#options = options;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** The chunk belongs to the spool from now on. */
  async write(chunk: Uint8Array): Promise<void> {
    this.#sizeBytes += chunk.length;
    if (this.#fd !== undefined) {
      await this.#append(this.#fd, chunk);
      return;
    }
    this.#chunks.push(chunk);
    if (this.#sizeBytes <= this.#options.memoryBytes) {
      return;
    }
    const fd = await openNameless(this.#options.folder);
    this.#fd = fd;
    const collected = this.#chunks;
    this.#chunks = [];
    for (const part of collected) {
      await this.#append(fd, part);
    }
  }

  async finish(): Promise<Spool> {
    if (this.#fd !== undefined) {
      const spool: FileSpool = { kind: 'file', fd: this.#fd, sizeBytes: this.#sizeBytes };
      forgotten.register(spool, this.#fd, spool);
      return spool;
    }
    const [only] = this.#chunks;
    const bytes =
      this.#chunks.length === 1 && only !== undefined ? only : Buffer.concat(this.#chunks);
    return { kind: 'memory', bytes };
  }

  async discard(): Promise<void> {
    this.#chunks = [];
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd !== undefined) {
      await closeFile(fd);
    }
  }

  async #append(fd: number, chunk: Uint8Array): Promise<void> {
    for (let written = 0; written < chunk.length;) {
      try {
        const { bytesWritten } = await writeFile(fd, chunk, written, chunk.length - written, null);
        written += bytesWritten;
      } catch (error) {
        throw spoolError(this.#options.folder, error);
      }
    }
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
  for (let at = 0; at < spool.sizeBytes;) {
    const chunk = Buffer.allocUnsafe(Math.min(READ_CHUNK_BYTES, spool.sizeBytes - at));
    const bytesRead = await readAt(spool, chunk, at);
    assert(bytesRead > 0, 'a spool is as long as what was written');
    at += bytesRead;
    yield chunk.subarray(0, bytesRead);
  }
}

function spoolSizeBytes(spool: Spool): number {
  return spool.kind === 'memory' ? spool.bytes.length : spool.sizeBytes;
}

/** The spool as something to store. */
export function spoolBody(spool: Spool): ObjectBody {
  return { sizeBytes: spoolSizeBytes(spool), open: () => readSpool(spool) };
}

/** The spool goes to another thread, which discards it; here it is forgotten. */
export function handOverSpool(spool: Spool): void {
  if (spool.kind === 'file') {
    forgotten.unregister(spool);
  }
}

/** Gives back what the bytes took. Idempotent; who still reads them gets an error. */
export async function discardSpool(spool: Spool): Promise<void> {
  if (spool.kind === 'memory') {
    return;
  }
  const use = useOf(spool);
  if (use.isDiscarded) {
    return;
  }
  use.isDiscarded = true;
  forgotten.unregister(spool);
  await closeUnused(spool, use);
}

/**
 * Tries whether large objects find room in a folder, and removes what killed runs of earlier versions left there.
 * Errors: SPOOL_FAILED.
 */
export async function prepareSpoolFolder(folder: string): Promise<void> {
  await closeFile(await openNameless(folder));
  for (const name of await readdir(folder).catch(() => [])) {
    const path = join(folder, name);
    if (FILE_NAME.test(name) && (await ageMs(path)) > LEFT_BEHIND_MS) {
      await unlink(path).catch(() => undefined);
    }
  }
}

type FileSpool = Extract<Spool, { readonly kind: 'file' }>;

/** Closes what nobody has any more although nobody discarded it: a call that was given up in the middle. */
const forgotten = new FinalizationRegistry<number>((fd) => {
  close(fd);
});

type Use = { reading: number; isDiscarded: boolean };

const uses = new WeakMap<FileSpool, Use>();

function useOf(spool: FileSpool): Use {
  const known = uses.get(spool);
  if (known !== undefined) {
    return known;
  }
  const use: Use = { reading: 0, isDiscarded: false };
  uses.set(spool, use);
  return use;
}

/**
 * Reads only while the descriptor is ours. The number of one that is closed is soon another file's, and a request that
 * was given up may still ask for its body.
 */
async function readAt(spool: FileSpool, into: Buffer, position: number): Promise<number> {
  const use = useOf(spool);
  if (use.isDiscarded) {
    throw new Error('the spool is discarded');
  }
  use.reading += 1;
  try {
    const { bytesRead } = await readFile(spool.fd, into, 0, into.length, position);
    return bytesRead;
  } finally {
    use.reading -= 1;
    await closeUnused(spool, use);
  }
}

async function closeUnused(spool: FileSpool, { reading, isDiscarded }: Use): Promise<void> {
  if (isDiscarded && reading === 0) {
    await closeFile(spool.fd);
  }
}

/** A new file, without a name from here on. */
async function openNameless(folder: string): Promise<number> {
  const path = join(folder, `lightningstream-${randomBytes(8).toString('hex')}.spool`);
  let fd: number;
  try {
    fd = await openFile(path, 'wx+', 0o600);
  } catch (error) {
    throw spoolError(folder, error);
  }
  await unlink(path).catch(() => undefined);
  return fd;
}

async function ageMs(path: string): Promise<number> {
  try {
    return Date.now() - (await stat(path)).mtimeMs;
  } catch {
    return 0;
  }
}

function spoolError(folder: string, cause: unknown): SyncError {
  return new SyncError(
    'SPOOL_FAILED',
    `cannot write a temporary file in ${folder} (spool_folder): ${errorText(cause)}`,
    {
      hint: 'Set `spool_folder` to a folder where this user may write, with room for the largest object.',
      retryable: true,
      cause,
    },
  );
}
