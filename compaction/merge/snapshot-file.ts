import { GzipWriter } from '../../protocol/gzip.ts';
import { SnapshotWriter } from '../../protocol/snapshot-writer.ts';
import type { EntryView, SnapshotMeta } from '../../protocol/snapshot.ts';
import { FLAG_DELETED } from '../../protocol/value-header.ts';
import type { EntryCursor } from './cursor.ts';
import type { DbiTable } from './dbi-table.ts';
import { GZIP_LEVEL } from './limits.ts';
import { mergeStreams } from './merge-streams.ts';
import type { Scratch, ScratchFile } from '../scratch/scratch.ts';

/** A snapshot in the scratch store and what is in it. */
export type SnapshotFile = {
  readonly file: ScratchFile;
  readonly entries: number;
  readonly tombstones: number;
};

/** Options of {@link writeMerged}. */
export type WriteMergedOptions = {
  readonly table: DbiTable;
  readonly scratch: Scratch;
  readonly meta: SnapshotMeta;
  /** Tombstones with an older time are left out; undefined: none. */
  readonly dropBeforeNs?: bigint | undefined;
  readonly gzipLevel?: number | undefined;
  /** Throws when the work has to stop. */
  readonly checkTime: () => void;
};

/** Merges sorted cursors into one snapshot in the scratch store, and closes them. */
export async function writeMerged(
  cursors: readonly EntryCursor[],
  options: WriteMergedOptions,
): Promise<SnapshotFile> {
  const file = await options.scratch.create();
  const gzip = new GzipFile(file, options.gzipLevel ?? GZIP_LEVEL);
  try {
    const merged = new MergedWriter(gzip, options);
    await mergeStreams(cursors, options.table, merged);
    merged.end();
    await gzip.finish();
    return { file, entries: merged.entries, tombstones: merged.tombstones };
  } catch (error) {
    await gzip.settle();
    await file.remove();
    throw error;
  } finally {
    for (const cursor of cursors) {
      await cursor.close();
    }
  }
}

/** Turns merged entries into the messages of a snapshot. */
class MergedWriter {
  entries = 0;
  tombstones = 0;
  readonly #gzip: GzipFile;
  readonly #writer: SnapshotWriter;
  readonly #options: WriteMergedOptions;
  readonly #written = new Set<number>();
  readonly #dropHi: number;
  readonly #dropLo: number;
  #dbi = -1;

  constructor(gzip: GzipFile, options: WriteMergedOptions) {
    this.#gzip = gzip;
    this.#options = options;
    const dropBeforeNs = options.dropBeforeNs ?? 0n;
    this.#dropHi = Number(dropBeforeNs >> 32n);
    this.#dropLo = Number(dropBeforeNs & 0xffff_ffffn);
    // Agents leave out what their LMDB does not take; what it was nobody loses by compacting.
    this.#writer = new SnapshotWriter((chunk) => gzip.push(chunk), { takesLongKeys: true });
    this.#writer.begin(options.meta);
  }

  onEntry(dbi: number, entry: EntryView): void {
    if (dbi !== this.#dbi) {
      this.#beginDbi(dbi);
    }
    if ((entry.flags & FLAG_DELETED) !== 0) {
      const { timeHi, timeLo } = entry;
      if (timeHi < this.#dropHi || (timeHi === this.#dropHi && timeLo < this.#dropLo)) {
        return;
      }
      this.tombstones += 1;
    }
    this.entries += 1;
    this.#writer.entry(entry);
  }

  async pause(): Promise<void> {
    this.#options.checkTime();
    await this.#gzip.drain();
  }

  /** Ends the last DBI, and adds those without entries, so that they get created at readers. */
  end(): void {
    const { table } = this.#options;
    for (const dbi of table.idsByName()) {
      if (!this.#written.has(dbi)) {
        this.#beginDbi(dbi);
      }
    }
    if (this.#dbi >= 0) {
      this.#writer.endDbi();
    }
    this.#writer.end();
  }

  #beginDbi(dbi: number): void {
    if (this.#dbi >= 0) {
      this.#writer.endDbi();
    }
    this.#dbi = dbi;
    this.#written.add(dbi);
    this.#writer.beginDbi(this.#options.table.header(dbi));
  }
}

/** Compresses blocks into a scratch file, on zlib's threads; holds what was pushed since the last {@link drain}. */
class GzipFile {
  readonly #file: ScratchFile;
  readonly #gzip: GzipWriter;
  #blocks: Uint8Array[] = [];

  constructor(file: ScratchFile, level: number) {
    this.#file = file;
    this.#gzip = new GzipWriter({ level, write: (chunk) => file.write(chunk) });
  }

  push(block: Uint8Array): void {
    this.#blocks.push(block);
  }

  async drain(): Promise<void> {
    const blocks = this.#blocks;
    if (blocks.length === 0) {
      return;
    }
    this.#blocks = [];
    await this.#gzip.add(blocks);
  }

  async finish(): Promise<void> {
    await this.drain();
    await this.#gzip.finish();
    await this.#file.finish();
  }

  /** Resolves when the file is not written to any more. */
  settle(): Promise<void> {
    return this.#gzip.settle();
  }
}
