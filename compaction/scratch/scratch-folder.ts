import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, rm, statfs, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { SyncError, errorText } from '../../protocol/errors.ts';
import { FOLDER_PREFIX, markAlive, removeLeftovers } from './leftovers.ts';
import type { Scratch, ScratchFile } from './scratch.ts';
import { READ_CHUNK_BYTES } from '../../storage/limits.ts';

/**
 * Scratch space in a new folder of its own under `parent`, removed with everything in it by {@link ScratchFolder.close}.
 *
 * Errors: SPOOL_FAILED (disk full, no such folder), retryable.
 */
export class ScratchFolder implements Scratch {
  readonly #path: string;
  readonly #alive: { close(): Promise<void> };
  #created = 0;

  private constructor(path: string, alive: { close(): Promise<void> }) {
    this.#path = path;
    this.#alive = alive;
  }

  /** Makes the folder, and removes those that runs of this user have left when they were killed. */
  static async open(parent: string): Promise<ScratchFolder> {
    return failing(`make a folder in ${parent}`, async () => {
      await mkdir(parent, { recursive: true });
      await removeLeftovers(parent, Date.now());
      const path = await mkdtemp(join(parent, FOLDER_PREFIX));
      return new ScratchFolder(path, await markAlive(path));
    });
  }

  async create(): Promise<ScratchFile> {
    this.#created += 1;
    const path = join(this.#path, String(this.#created));
    return failing(`write ${path}`, async () => new FolderFile(path, await open(path, 'wx')));
  }

  async freeBytes(): Promise<number> {
    return failing(`look at ${this.#path}`, async () => {
      const { bavail, bsize } = await statfs(this.#path);
      return bavail * bsize;
    });
  }

  /** Removes the folder. */
  async close(): Promise<void> {
    await this.#alive.close();
    await rm(this.#path, { recursive: true, force: true });
  }
}

class FolderFile implements ScratchFile {
  readonly #path: string;
  #handle: FileHandle | undefined;
  #sizeBytes = 0;

  constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    try {
      await failing(`write ${this.#path}`, async () => {
        for (let at = 0; at < chunk.length;) {
          const written = await this.#handle?.write(chunk, at, chunk.length - at);
          at += written?.bytesWritten ?? chunk.length;
        }
      });
    } catch (error) {
      // Half a file is of no use, and its room is what somebody waits for.
      await this.remove().catch(() => undefined);
      throw error;
    }
    this.#sizeBytes += chunk.length;
  }

  async finish(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
  }

  async *open(): AsyncGenerator<Uint8Array, void, void> {
    yield* createReadStream(this.#path, { highWaterMark: READ_CHUNK_BYTES });
  }

  async remove(): Promise<void> {
    await this.finish();
    await rm(this.#path, { force: true });
  }
}

async function failing<T>(what: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    throw new SyncError('SPOOL_FAILED', `cannot ${what}: ${errorText(cause)}`, {
      hint: isFull(cause)
        ? 'Give the compactor more disk for temporary files: no object in the bucket is at fault.'
        : 'Give the compactor a folder for temporary files that it can write to.',
      retryable: true,
      cause,
    });
  }
}

/** No room: on the disk, of the user's quota, or for more files. */
function isFull(cause: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes((cause as NodeJS.ErrnoException).code ?? '');
}
