import { EMPTY_META, type EntryView } from '../../protocol/snapshot.ts';
import type { EntryCursor, SnapshotSource } from './cursor.ts';
import type { DbiTable } from './dbi-table.ts';
import { EntryBatch } from './entry-batch.ts';
import { newView } from '../../protocol/snapshot.ts';
import { SORTER_BYTES, SORTER_ENTRIES } from './limits.ts';
import type { Scratch } from '../scratch/scratch.ts';
import { writeMerged } from './snapshot-file.ts';

/** Options of a {@link Sorter}. */
export type SorterOptions = {
  readonly table: DbiTable;
  readonly scratch: Scratch;
  readonly checkTime: () => void;
  /** Bytes of keys and values held before a run is written. */
  readonly maxBytes?: number | undefined;
};

/**
 * Brings entries that come in any order, repeated or not, into sorted runs: in memory, and beyond its bound in the
 * scratch store. Of entries with the same key the winner is kept.
 */
export class Sorter {
  readonly #options: SorterOptions;
  readonly #maxBytes: number;
  readonly #batch = new EntryBatch();
  readonly #runs: SnapshotSource[] = [];

  constructor(options: SorterOptions) {
    this.#options = options;
    this.#maxBytes = options.maxBytes ?? SORTER_BYTES;
  }

  /** Copies an entry in. */
  add(dbi: number, entry: EntryView): void {
    this.#batch.append(dbi, entry);
  }

  /** Writes a run if what is held is above the bound. To be called between blocks of entries. */
  async relieve(): Promise<void> {
    if (this.#batch.usedBytes >= this.#maxBytes || this.#batch.count >= SORTER_ENTRIES) {
      await this.#spill();
    }
  }

  /** Sorted runs in the scratch store so far. */
  get runs(): readonly SnapshotSource[] {
    return this.#runs;
  }

  /** What is in memory, sorted; undefined if nothing is. Nothing may be added afterwards. */
  cursor(): EntryCursor | undefined {
    return this.#batch.count === 0 ? undefined : new SortedBatch(this.#batch, this.#options.table);
  }

  async #spill(): Promise<void> {
    const { table, scratch, checkTime } = this.#options;
    const { file } = await writeMerged([new SortedBatch(this.#batch, table)], {
      table,
      scratch,
      checkTime,
      meta: EMPTY_META,
      gzipLevel: 1,
    });
    const name = `sorted run ${this.#runs.length + 1}`;
    this.#runs.push({ name, existing: false, open: () => file.open() });
    this.#batch.clear();
  }
}

/** The entries of a batch in order, as one block without repeated keys. */
class SortedBatch implements EntryCursor {
  readonly batch = new EntryBatch();
  index = -1;
  readonly #unsorted: EntryBatch;
  readonly #table: DbiTable;
  readonly #order: Uint32Array;
  #position = 0;

  constructor(unsorted: EntryBatch, table: DbiTable) {
    this.#unsorted = unsorted;
    this.#table = table;
    this.#order = Uint32Array.from({ length: unsorted.count }, (_, entry) => entry);
    this.#order.sort((a, b) => unsorted.comparePlaces(a, unsorted, b, table));
  }

  next(): boolean {
    this.index += 1;
    return this.index < this.batch.count;
  }

  async fill(): Promise<boolean> {
    const view = newView();
    this.batch.clear();
    this.index = 0;
    while (this.#position < this.#order.length && this.batch.usedBytes < BLOCK_BYTES) {
      const entry = this.#winnerOfNextKey();
      this.#unsorted.view(entry, view);
      this.batch.append(this.#unsorted.dbiAt(entry), view);
    }
    return this.batch.count > 0;
  }

  async close(): Promise<void> {}

  #winnerOfNextKey(): number {
    const unsorted = this.#unsorted;
    let winner = this.#order[this.#position] ?? 0;
    this.#position += 1;
    for (; this.#position < this.#order.length; this.#position++) {
      const other = this.#order[this.#position] ?? 0;
      if (unsorted.comparePlaces(winner, unsorted, other, this.#table) !== 0) {
        break;
      }
      if (unsorted.wins(other, unsorted, winner)) {
        winner = other;
      }
    }
    return winner;
  }
}

/** Bytes copied out at a time. */
const BLOCK_BYTES = 128 * 1024;
