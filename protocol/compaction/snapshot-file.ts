import { once } from 'node:events';
import { createGzip } from 'node:zlib';
import { SnapshotWriter } from '../snapshot-writer.ts';
import type { EntryView, SnapshotMeta } from '../snapshot.ts';
import { FLAG_DELETED } from '../value-header.ts';
import { type EntryCursor, SnapshotCursor, type SnapshotSource } from './cursor.ts';
import type { DbiTable } from './dbi-table.ts';
import { GZIP_LEVEL } from './limits.ts';
import { mergeStreams } from './merge-streams.ts';
import type { Scratch, ScratchFile } from './scratch.ts';

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

/** Merges snapshots that are sorted into one in the scratch store. Errors: those of {@link SnapshotCursor}. */
export async function writeMergedSources(
  sources: readonly SnapshotSource[],
  options: WriteMergedOptions,
): Promise<SnapshotFile> {
  const cursors = sources.map((source) => new SnapshotCursor(source, options.table));
  return writeMerged(cursors, options);
}

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
    gzip.destroy();
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
    this.#writer = new SnapshotWriter((chunk) => gzip.push(chunk));
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

/** Compresses chunks into a scratch file, on zlib's threads; holds what was pushed since the last {@link drain}. */
class GzipFile {
  readonly #gzip;
  readonly #done: Promise<void>;
  #needDrain = false;

  constructor(file: ScratchFile, level: number) {
    const gzip = createGzip({ level, chunkSize: 256 * 1024 });
    this.#gzip = gzip;
    this.#done = (async () => {
      for await (const chunk of gzip) {
        await file.write(chunk as Uint8Array);
      }
      await file.finish();
    })();
    // Its error is reported by whoever waits next; until then it must not count as unhandled.
    this.#done.catch(() => undefined);
  }

  push(chunk: Uint8Array): void {
    this.#needDrain = !this.#gzip.write(chunk) || this.#needDrain;
  }

  async drain(): Promise<void> {
    if (this.#needDrain && this.#gzip.writableNeedDrain) {
      await Promise.race([once(this.#gzip, 'drain'), this.#done]);
    }
    this.#needDrain = false;
  }

  async finish(): Promise<void> {
    this.#gzip.end();
    await this.#done;
  }

  destroy(): void {
    this.#gzip.destroy();
  }
}
