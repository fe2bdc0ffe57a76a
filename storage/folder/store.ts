import { randomBytes } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { link, lstat, mkdir, open, readdir, rename, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';

import { SyncError } from '../../protocol/errors.ts';
import { bytesBody, checkedChunks } from '../bodies.ts';
import { filesystemError, systemCode } from './errors.ts';
import { FolderLock, removeFile } from './lock.ts';
import { fileEtag, readObject } from './read.ts';
import { STALE_TEMP_MS, STAT_CONCURRENCY } from '../limits.ts';
import { compareNames } from '../names.ts';
import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutIfOptions,
  RequestKind,
} from '../object-store.ts';
import type { StoreHooks } from '../requests.ts';
import { observeRequest } from '../requests.ts';

export type FilesystemStoreOptions = StoreHooks & {
  /** The folder that holds the objects; made with mode 0755, parents included, where it is missing. */
  readonly rootPath: string;
  /** Milliseconds since the epoch, compared with the age of left-over files; `Date.now` unless given. */
  readonly nowMs?: (() => number) | undefined;
  /** Milliseconds after which the lock of a dead writer is taken over; 10 s unless given. */
  readonly staleLockMs?: number | undefined;
};

const TEMP_PREFIX = '.lightningstream-';
const TEMP_SUFFIX = '.tmp';

/**
 * False for names that upstream's store hides and refuses: with "/", beginning with ".", ending in ".tmp".
 *
 * Source: PowerDNS/simpleblob, `backends/fs`.
 */
export function isStorableName(name: string): boolean {
  return (
    name !== '' &&
    !name.startsWith('.') &&
    !name.endsWith(TEMP_SUFFIX) &&
    !name.includes('/') &&
    !name.includes('\0')
  );
}

/** Opens a folder as an object store: makes it where missing, removes what dead writers left. */
export async function openFilesystemStore(
  options: FilesystemStoreOptions,
): Promise<FilesystemObjectStore> {
  const { rootPath, nowMs = Date.now } = options;
  try {
    await mkdir(rootPath, { recursive: true, mode: 0o755 });
    await removeStaleFiles(rootPath, nowMs());
  } catch (error) {
    throw filesystemError(error, `open the storage folder ${rootPath}`);
  }
  return new FilesystemObjectStore(options);
}

/**
 * One folder, one file per object; shared with upstream's `type: fs`.
 *
 * Objects appear whole: bytes go to a temporary file first, which is synced to disk, then linked (`create`, so that
 * only one of many writers wins) or renamed, then the folder is synced. Everything that changes an existing object
 * holds its lock, so `putIfUnchanged` is atomic between processes. An etag is size, modification time and inode;
 * each replacement has a later modification time than what it replaces, so that no etag of an object comes back.
 */
export class FilesystemObjectStore implements ObjectStore {
  readonly rootPath: string;
  readonly #hooks: StoreHooks;
  readonly #lock: FolderLock;

  constructor(options: FilesystemStoreOptions) {
    this.rootPath = options.rootPath;
    this.#hooks = options;
    this.#lock = new FolderLock({
      rootPath: options.rootPath,
      newToken,
      monotonicMs: options.monotonicMs ?? (() => performance.now()),
      staleLockMs: options.staleLockMs,
    });
  }

  async *list(prefix: string, options: ListOptions): AsyncGenerator<ObjectInfo, void, void> {
    const { signal, startAfter = '' } = options;
    const infos = await this.#observe('list', this.rootPath, signal, async () => {
      const files = await readdir(this.rootPath, { withFileTypes: true });
      const names = files
        .filter((file) => file.isFile() && isStorableName(file.name))
        .map((file) => file.name)
        .filter((name) => name.startsWith(prefix) && compareNames(name, startAfter) > 0)
        .toSorted(compareNames);
      const found: ObjectInfo[] = [];
      for (let at = 0; at < names.length; at += STAT_CONCURRENCY) {
        signal.throwIfAborted();
        const some = names.slice(at, at + STAT_CONCURRENCY);
        for (const info of await Promise.all(some.map((name) => this.#info(name)))) {
          if (info !== undefined) {
            found.push(info);
          }
        }
      }
      return found;
    });
    for (const info of infos) {
      signal.throwIfAborted();
      yield info;
    }
  }

  get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    return this.#observe('load', name, options.signal, async () => {
      const object = isStorableName(name) ? await readObject(this.#path(name), options) : undefined;
      if (object === undefined) {
        // Fails where the folder itself is gone (not mounted): that must not look like an object that was deleted.
        await stat(this.rootPath);
      }
      return object;
    });
  }

  create(name: string, body: ObjectBody, signal: AbortSignal): Promise<'stored' | 'exists'> {
    return this.#observe('store', name, signal, async () => {
      requireStorable(name);
      const stored =
        (await findStats(this.#path(name))) === undefined &&
        (await this.#withTemp(body, signal, (temp) => this.#linkNew(temp, name)));
      // Also when it exists: whoever stored it may have died before this, and "exists" promises that it stays.
      await this.#syncFolder();
      return stored ? 'stored' : 'exists';
    });
  }

  put(name: string, body: ObjectBody, signal: AbortSignal): Promise<void> {
    return this.#observe('store', name, signal, async () => {
      requireStorable(name);
      await this.#withTemp(body, signal, (temp) =>
        this.#lock.run(name, signal, async (held) => {
          await this.#makeLater(temp, name);
          held.assertFresh();
          await rename(temp, this.#path(name));
        }),
      );
      await this.#syncFolder();
    });
  }

  putIfUnchanged(
    name: string,
    bytes: Uint8Array,
    options: PutIfOptions,
  ): Promise<string | undefined> {
    const { signal, etag } = options;
    return this.#observe('store', name, signal, async () => {
      requireStorable(name);
      const stored = await this.#withTemp(bytesBody(bytes), signal, async (temp) => {
        if (etag === undefined) {
          const stats = await stat(temp, { bigint: true });
          return (await this.#linkNew(temp, name)) ? fileEtag(stats) : undefined;
        }
        return this.#lock.run(name, signal, async (held) => {
          const current = await this.#makeLater(temp, name);
          if (current === undefined || fileEtag(current) !== etag) {
            return undefined;
          }
          const stats = await stat(temp, { bigint: true });
          held.assertFresh();
          await rename(temp, this.#path(name));
          return fileEtag(stats);
        });
      });
      await this.#syncFolder();
      return stored;
    });
  }

  delete(name: string, signal: AbortSignal): Promise<void> {
    return this.#observe('delete', name, signal, async () => {
      requireStorable(name);
      await this.#lock.run(name, signal, async (held) => {
        held.assertFresh();
        await removeFile(this.#path(name));
      });
      await this.#syncFolder();
    });
  }

  async close(): Promise<void> {}

  #path(name: string): string {
    return join(this.rootPath, name);
  }

  async #info(name: string): Promise<ObjectInfo | undefined> {
    const stats = await findStats(this.#path(name));
    return stats === undefined
      ? undefined
      : {
          name,
          sizeBytes: Number(stats.size),
          etag: fileEtag(stats),
          lastModifiedMs: Number(stats.mtimeMs),
        };
  }

  /** Writes and syncs a temporary file, hands its path on, and removes it unless it was renamed. */
  async #withTemp<T>(
    body: ObjectBody,
    signal: AbortSignal,
    use: (temp: string) => Promise<T>,
  ): Promise<T> {
    const temp = this.#path(`${TEMP_PREFIX}${newToken()}${TEMP_SUFFIX}`);
    const file = await open(temp, 'wx', 0o644);
    try {
      try {
        for await (const chunk of checkedChunks(body)) {
          signal.throwIfAborted();
          await writeAll(file, chunk);
        }
        await file.datasync();
      } finally {
        await file.close();
      }
      return await use(temp);
    } finally {
      await removeFile(temp);
    }
  }

  /** Gives the temporary file its name if that is free: readers see the whole file or none. */
  async #linkNew(temp: string, name: string): Promise<boolean> {
    try {
      await link(temp, this.#path(name));
      return true;
    } catch (error) {
      const code = systemCode(error);
      if (code === 'EEXIST') {
        return false;
      }
      if (code === 'ENOTSUP' || code === 'ENOSYS' || code === 'EPERM') {
        throw new SyncError(
          'STORAGE_DENIED',
          `cannot store ${name} in ${this.rootPath}: no hard links there (${code})`,
          {
            hint: 'Use a folder on a file system with hard links (ext4, XFS, Btrfs, ZFS, NFS).',
            cause: error,
          },
        );
      }
      throw error;
    }
  }

  /** Moves the temporary file's time above that of the object it will replace, whose stats it returns. */
  async #makeLater(temp: string, name: string): Promise<BigIntStats | undefined> {
    const current = await findStats(this.#path(name));
    if (current !== undefined) {
      const ours = await stat(temp, { bigint: true });
      if (ours.mtimeNs <= current.mtimeNs) {
        // File times tick every few milliseconds, and freed inodes are used again at once. `utimes` takes seconds
        // as a double, which is exact to about 0.2 µs: 10 µs more is surely later.
        const seconds = Number(current.mtimeNs / 1000n + 10n) / 1e6;
        await utimes(temp, seconds, seconds);
      }
    }
    return current;
  }

  async #syncFolder(): Promise<void> {
    const folder = await open(this.rootPath, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  #observe<T>(
    kind: RequestKind,
    what: string,
    signal: AbortSignal,
    run: () => Promise<T>,
  ): Promise<T> {
    return observeRequest(
      async () => {
        signal.throwIfAborted();
        try {
          return await run();
        } catch (error) {
          const where = what === this.rootPath ? what : `${what} in ${this.rootPath}`;
          throw filesystemError(error, `${kind} ${where}`);
        }
      },
      { ...this.#hooks, kind, errorType: (error) => errorType(error) },
    );
  }
}

function errorType(error: unknown): string {
  return systemCode(error instanceof SyncError ? error.cause : error) || 'Unknown';
}

function newToken(): string {
  return randomBytes(12).toString('hex');
}

function requireStorable(name: string): void {
  if (!isStorableName(name)) {
    throw new SyncError(
      'OBJECT_NAME_INVALID',
      `cannot store ${JSON.stringify(name)} as a file: no "/", no "." at the start, no ".tmp" at the end`,
      { hint: 'Choose another database or instance name.' },
    );
  }
}

async function findStats(path: string): Promise<BigIntStats | undefined> {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      return undefined;
    }
    throw error;
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.byteLength;) {
    const { bytesWritten } = await file.write(chunk, at, chunk.byteLength - at);
    at += bytesWritten;
  }
}

/** Best effort: a folder that is only readable is still a store for reading. */
async function removeStaleFiles(rootPath: string, nowMs: number): Promise<void> {
  for (const name of await readdir(rootPath)) {
    if (name.startsWith(TEMP_PREFIX) && name.endsWith(TEMP_SUFFIX)) {
      const path = join(rootPath, name);
      const stats = await findStats(path);
      if (stats !== undefined && nowMs - Number(stats.mtimeMs) > STALE_TEMP_MS) {
        try {
          await removeFile(path);
        } catch (error) {
          if (!['EACCES', 'EPERM', 'EROFS'].includes(systemCode(error))) {
            throw error;
          }
        }
      }
    }
  }
}
