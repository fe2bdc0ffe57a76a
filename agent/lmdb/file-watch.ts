import fs from 'node:fs';
import { errorText, SyncError } from '../../protocol/errors.ts';
import { DataFile } from './pages/data-file.ts';

/** Which file an open LMDB is, and whether it is still the one at its path. */
export class FileWatch {
  readonly #path: string;
  readonly #device: number;
  readonly #inode: number;
  /** LMDB never makes its file shorter. */
  #sizeBytes: number;

  /** `fd` is the data file as it is open. Errors: ENVIRONMENT_REPLACED. */
  constructor(path: string, fd: number) {
    const { dev, ino, size } = fs.fstatSync(fd);
    this.#path = path;
    this.#device = dev;
    this.#inode = ino;
    this.#sizeBytes = size;
    this.requireSame();
  }

  /** Errors: ENVIRONMENT_REPLACED, ENVIRONMENT_UNREADABLE where the path cannot be looked at. */
  requireSame(): void {
    let found: fs.Stats | undefined;
    try {
      found = fs.statSync(this.#path, { throwIfNoEntry: false });
    } catch (cause) {
      throw new SyncError(
        'ENVIRONMENT_UNREADABLE',
        `cannot look at ${this.#path}: ${errorText(cause)}`,
        { hint: 'Check its folder; it is tried again.', retryable: true, cause },
      );
    }
    if (found === undefined) {
      throw replaced(this.#path, 'is gone');
    }
    if (found.ino !== this.#inode || found.dev !== this.#device) {
      throw this.replaced();
    }
    // In place: "cp backup data.mdb" keeps the inode, and begins by cutting the file.
    if (found.size < this.#sizeBytes) {
      throw replaced(this.#path, `has shrunk from ${this.#sizeBytes} bytes to ${found.size}`);
    }
    this.#sizeBytes = found.size;
  }

  isSame(other: FileWatch): boolean {
    return this.#inode === other.#inode && this.#device === other.#device;
  }

  replaced(): SyncError {
    return replaced(this.#path, 'was replaced by another one');
  }
}

/** The error for a file that is not the one that we opened. */
export function replaced(path: string, what: string): SyncError {
  return new SyncError('ENVIRONMENT_REPLACED', `the LMDB file ${path} ${what}`, {
    hint: 'Nothing: what is at the path is opened anew, and read as at a start.',
    retryable: true,
  });
}

/**
 * Errors: ENVIRONMENT_UNREADABLE, retryable, while there is no file, an empty one, or one that is still being copied.
 * One that has all pages is taken, and one that stands still: its last pages may be free ones that nobody wrote.
 */
export function requireWhole(path: string, sizeBefore: number | undefined): void {
  const size = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  // LMDB would make a new environment of an empty file, while somebody fills it.
  if (size > 0) {
    using file = DataFile.open(path);
    const { lastPage, pageSize } = file.readMeta();
    if (size >= (lastPage + 1) * pageSize || size === sizeBefore) {
      return;
    }
  }
  const what = size === 0 ? 'is missing or empty' : `has only ${size} bytes yet`;
  throw new SyncError('ENVIRONMENT_UNREADABLE', `the LMDB file ${path} ${what}`, {
    hint: 'Put the file in its place, or start the application; it is tried again.',
    retryable: true,
  });
}
