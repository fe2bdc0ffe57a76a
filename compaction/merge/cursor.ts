import { createGunzip } from 'node:zlib';
import { Readable } from 'node:stream';
import { SyncError, errorText } from '../../protocol/errors.ts';
import { SnapshotReader, type SnapshotSink } from '../../protocol/snapshot-reader.ts';
import type { DbiHeader, EntryView } from '../../protocol/snapshot.ts';
import type { DbiTable } from './dbi-table.ts';
import { isPrivateDbi } from '../../protocol/dbi-name.ts';
import { EntryBatch } from './entry-batch.ts';
import { CURSOR_CHUNK_BYTES, CURSOR_HELD_BYTES } from './limits.ts';

/** A snapshot, compressed, that can be read more than once. */
export type SnapshotSource = {
  readonly name: string;
  /** True for the published base and its level-1 deltas: their DBI headers are the ones to write. */
  readonly existing: boolean;
  open(): AsyncIterable<Uint8Array>;
};

/** Sorted entries, one at a time, read in blocks: the input of a merge. */
export interface EntryCursor {
  /** The block with the current entry. */
  readonly batch: EntryBatch;
  /** Number of the current entry in its block. */
  readonly index: number;
  /** The next entry of the block; false if the block is at its end. */
  next(): boolean;
  /** The first entry of the next block; false if there is none. */
  fill(): Promise<boolean>;
  close(): Promise<void>;
}

/** An input whose entries are not in ascending order by DBI and key: it has to be sorted first. */
export class UnsortedInputError extends Error {
  readonly source: string;

  constructor(source: string) {
    super(`the entries of ${source} are not sorted`);
    this.name = 'UnsortedInputError';
    this.source = source;
  }
}

/**
 * Reads a snapshot whose bytes have been checked before, in steps of about {@link CURSOR_CHUNK_BYTES}.
 *
 * Errors: UnsortedInputError; what the source and the reader throw.
 */
export class SnapshotCursor implements EntryCursor, SnapshotSink {
  batch = new EntryBatch();
  index = -1;
  readonly #source: SnapshotSource;
  readonly #table: DbiTable;
  readonly #reader = new SnapshotReader(this, { heldDbiBytes: CURSOR_HELD_BYTES });
  #chunks: AsyncIterator<Uint8Array> | undefined;
  #before = new EntryBatch();
  #dbi = -1;

  constructor(source: SnapshotSource, table: DbiTable) {
    this.#source = source;
    this.#table = table;
  }

  next(): boolean {
    this.index += 1;
    return this.index < this.batch.count;
  }

  async fill(): Promise<boolean> {
    this.#chunks ??= inflate(this.#source);
    if (this.batch.count > 0) {
      // The block before stays, so that the order is checked across the border.
      [this.batch, this.#before] = [this.#before, this.batch];
    }
    this.batch.clear();
    this.index = 0;
    while (this.batch.count === 0) {
      const chunk = await this.#chunks.next();
      if (chunk.done === true) {
        this.#reader.end();
        return this.batch.count > 0;
      }
      this.#reader.push(chunk.value);
    }
    return true;
  }

  async close(): Promise<void> {
    await this.#chunks?.return?.();
  }

  onMeta(): void {}

  onDbi(header: DbiHeader): void {
    this.#dbi = isPrivateDbi(header.name) ? -1 : this.#table.idOf(header, this.#source.existing);
  }

  onEntry(entry: EntryView): void {
    if (this.#dbi < 0) {
      return;
    }
    const batch = this.batch;
    batch.append(this.#dbi, entry);
    const at = batch.count - 1;
    const before = at > 0 ? batch : this.#before;
    const last = at > 0 ? at - 1 : before.count - 1;
    if (last >= 0 && batch.comparePlaces(at, before, last, this.#table) <= 0) {
      throw new UnsortedInputError(this.#source.name);
    }
  }

  onDbiEnd(): void {}
}

/** Decompressed chunks on demand. Only for bytes that have been read whole before: nothing bounds what comes out. */
async function* inflate(source: SnapshotSource): AsyncGenerator<Uint8Array, void, void> {
  const input = Readable.from(source.open(), {
    objectMode: false,
    highWaterMark: CURSOR_CHUNK_BYTES,
  });
  const gunzip = createGunzip({ chunkSize: CURSOR_CHUNK_BYTES });
  input.on('error', (error) => gunzip.destroy(error));
  try {
    yield* input.pipe(gunzip);
  } catch (error) {
    if (!String((error as NodeJS.ErrnoException).code).startsWith('Z_')) {
      throw error;
    }
    throw new SyncError('SNAPSHOT_CORRUPT', `${source.name}: ${errorText(error)}`, {
      hint: 'Find out what damages objects in the bucket; a base is made anew from what is listed.',
      cause: error,
    });
  } finally {
    gunzip.destroy();
    input.destroy();
  }
}
