import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { SyncError, errorText } from '../../protocol/errors.ts';
import type { Scratch, ScratchFile } from './scratch.ts';
import { READ_CHUNK_BYTES } from '../../storage/limits.ts';

/**
 * Scratch space in a new folder of its own under `parent`, removed with everything in it by {@link ScratchFolder.close}.
 *
 * Errors: STORAGE_FAILED (disk full, no such folder), retryable.
 */
export class ScratchFolder implements Scratch {
  readonly #path: string;
  #created = 0;

  private constructor(path: string) {
    this.#path = path;
  }

  /** Makes the folder. */
  static async open(parent: string): Promise<ScratchFolder> {
    return failing(`make a folder in ${parent}`, async () => {
      await mkdir(parent, { recursive: true });
      return new ScratchFolder(await mkdtemp(join(parent, 'lightningstream-compaction-')));
    });
  }

  async create(): Promise<ScratchFile> {
    this.#created += 1;
    const path = join(this.#path, String(this.#created));
    return failing(`write ${path}`, async () => new FolderFile(path, await open(path, 'wx')));
  }

  /** Removes the folder. */
  async close(): Promise<void> {
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
    await failing(`write ${this.#path}`, async () => {
      for (let at = 0; at < chunk.length;) {
        const written = await this.#handle?.write(chunk, at, chunk.length - at);
        at += written?.bytesWritten ?? chunk.length;
      }
    });
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
    throw new SyncError('STORAGE_FAILED', `cannot ${what}: ${errorText(cause)}`, {
      hint: 'Give the compactor more temporary disk space.',
      retryable: true,
      cause,
    });
  }
}
