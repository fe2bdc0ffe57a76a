import type { BigIntStats } from 'node:fs';
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';

import { SyncError } from '../../protocol/errors.ts';
import { filesystemError, systemCode } from './errors.ts';
import { READ_CHUNK_BYTES } from '../limits.ts';
import type { FetchedObject, GetOptions } from '../object-store.ts';

/** Size, modification time and inode, in hex. */
export function fileEtag(stats: BigIntStats): string {
  return `"${stats.size.toString(16)}-${stats.mtimeNs.toString(16)}-${stats.ino.toString(16)}"`;
}

/** The object in a file, undefined if there is no regular file. Small ones are read at once. */
export async function readObject(
  path: string,
  options: GetOptions,
): Promise<FetchedObject | undefined> {
  const { signal, firstBytes } = options;
  const file = await openRegular(path);
  if (file === undefined) {
    return undefined;
  }
  try {
    const { stats } = file;
    const sizeBytes = Number(stats.size);
    const wanted = Math.min(sizeBytes, firstBytes ?? sizeBytes);
    const etag = fileEtag(stats);
    if (wanted > READ_CHUNK_BYTES) {
      return { sizeBytes, etag, body: readLater(path, { etag, wanted, signal }) };
    }
    const bytes = await readChunk(file.handle, { path, position: 0, length: wanted });
    return { sizeBytes, etag, body: oneChunk(bytes, signal) };
  } finally {
    await file.handle.close();
  }
}

async function* oneChunk(bytes: Uint8Array, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  signal.throwIfAborted();
  if (bytes.byteLength > 0) {
    yield bytes;
  }
}

/**
 * Opens the file when reading begins, so that a body nobody reads holds no descriptor; another file of that name
 * by then is an error, as the caller knows the first one's etag.
 */
async function* readLater(
  path: string,
  what: { etag: string; wanted: number; signal: AbortSignal },
): AsyncGenerator<Uint8Array> {
  let file: Awaited<ReturnType<typeof openRegular>>;
  try {
    file = await openRegular(path);
  } catch (error) {
    throw filesystemError(error, `load ${path}`);
  }
  if (file === undefined || fileEtag(file.stats) !== what.etag) {
    await file?.handle.close();
    throw new SyncError('STORAGE_FAILED', `${path} was replaced or removed while it was read`, {
      retryable: true,
    });
  }
  try {
    for (let position = 0; position < what.wanted;) {
      what.signal.throwIfAborted();
      const length = Math.min(READ_CHUNK_BYTES, what.wanted - position);
      const chunk = await readChunk(file.handle, { path, position, length });
      position += chunk.byteLength;
      yield chunk;
    }
  } finally {
    await file.handle.close();
  }
}

/** Fills a buffer of its own; a file that ends before is an error. */
async function readChunk(
  handle: FileHandle,
  range: { path: string; position: number; length: number },
): Promise<Uint8Array> {
  const chunk = new Uint8Array(range.length);
  for (let at = 0; at < range.length;) {
    let bytesRead;
    try {
      ({ bytesRead } = await handle.read(chunk, at, range.length - at, range.position + at));
    } catch (error) {
      throw filesystemError(error, `load ${range.path}`);
    }
    if (bytesRead === 0) {
      throw new SyncError(
        'STORAGE_FAILED',
        `${range.path} ends at byte ${range.position + at}: it was cut off while it was read`,
        { hint: 'Check what else writes in that folder.', retryable: true },
      );
    }
    at += bytesRead;
  }
  return chunk;
}

async function openRegular(
  path: string,
): Promise<{ handle: FileHandle; stats: BigIntStats } | undefined> {
  let handle: FileHandle;
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      return undefined;
    }
    throw error;
  }
  const stats = await handle.stat({ bigint: true });
  if (!stats.isFile()) {
    await handle.close();
    return undefined;
  }
  return { handle, stats };
}
