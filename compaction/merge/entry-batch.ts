import type { EntryView } from '../../protocol/snapshot.ts';
import { FLAG_DELETED } from '../../protocol/value-header.ts';
import type { DbiTable } from './dbi-table.ts';

/** Numbers per entry in the index: DBI, key start, key end (where the value starts), value end, time (two halves), flags. */
const FIELDS = 7;
const INITIAL_BYTES = 64 * 1024;
const INITIAL_ENTRIES = 1024;

/**
 * Copied entries in one block of bytes with an index beside it: no object per entry.
 * A deletion is stored without its value, so every register in here is well-formed.
 */
export class EntryBatch {
  #bytes = new Uint8Array(INITIAL_BYTES);
  #index = new Uint32Array(INITIAL_ENTRIES * FIELDS);
  #usedBytes = 0;
  #count = 0;

  /** Entries in it. */
  get count(): number {
    return this.#count;
  }

  /** Bytes of keys and values in it. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Forgets the entries and keeps the memory. */
  clear(): void {
    this.#count = 0;
    this.#usedBytes = 0;
  }

  /** Copies an entry to the end. */
  append(dbi: number, entry: EntryView): void {
    const deleted = (entry.flags & FLAG_DELETED) !== 0;
    const keyBytes = entry.keyEnd - entry.keyStart;
    const valueBytes = deleted ? 0 : entry.valueEnd - entry.valueStart;
    const keyStart = this.#usedBytes;
    this.#reserve(keyBytes + valueBytes);
    copyRange(entry.buffer, entry.keyStart, keyBytes, this.#bytes, keyStart);
    copyRange(entry.buffer, entry.valueStart, valueBytes, this.#bytes, keyStart + keyBytes);
    const index = this.#index;
    const at = this.#count * FIELDS;
    index[at] = dbi;
    index[at + 1] = keyStart;
    index[at + 2] = keyStart + keyBytes;
    index[at + 3] = keyStart + keyBytes + valueBytes;
    index[at + 4] = entry.timeHi;
    index[at + 5] = entry.timeLo;
    index[at + 6] = entry.flags;
    this.#usedBytes += keyBytes + valueBytes;
    this.#count += 1;
  }

  /** The number of the entry's DBI. */
  dbiAt(entry: number): number {
    return this.#index[entry * FIELDS] ?? 0;
  }

  /** Fills a view of the entry; valid until the batch changes. */
  view(entry: number, into: EntryView): void {
    const index = this.#index;
    const at = entry * FIELDS;
    into.buffer = this.#bytes;
    into.keyStart = index[at + 1] ?? 0;
    into.keyEnd = index[at + 2] ?? 0;
    into.valueStart = into.keyEnd;
    into.valueEnd = index[at + 3] ?? 0;
    into.timeHi = index[at + 4] ?? 0;
    into.timeLo = index[at + 5] ?? 0;
    into.flags = index[at + 6] ?? 0;
  }

  /** Order by DBI name, then by key, of an entry here and one in another batch (or this one). */
  comparePlaces(entry: number, other: EntryBatch, otherEntry: number, table: DbiTable): number {
    const a = entry * FIELDS;
    const b = otherEntry * FIELDS;
    const dbi = this.#index[a] ?? 0;
    const otherDbi = other.#index[b] ?? 0;
    if (dbi !== otherDbi) {
      return table.compare(dbi, otherDbi);
    }
    return table.order(dbi)(
      this.#bytes,
      this.#index[a + 1] ?? 0,
      this.#index[a + 2] ?? 0,
      other.#bytes,
      other.#index[b + 1] ?? 0,
      other.#index[b + 2] ?? 0,
    );
  }

  /**
   * True if this entry wins against one of the same key: `mergeRegisters` without a bigint or an object.
   * Which of two equal registers wins does not matter.
   */
  wins(entry: number, other: EntryBatch, otherEntry: number): boolean {
    const a = entry * FIELDS;
    const b = otherEntry * FIELDS;
    for (let half = 4; half <= 5; half++) {
      const difference = (this.#index[a + half] ?? 0) - (other.#index[b + half] ?? 0);
      if (difference !== 0) {
        return difference > 0;
      }
    }
    const order = this.#compareValues(a, other, b);
    return order === 0 ? ((this.#index[a + 6] ?? 0) & FLAG_DELETED) !== 0 : order < 0;
  }

  #compareValues(a: number, other: EntryBatch, b: number): number {
    const start = this.#index[a + 2] ?? 0;
    const otherStart = other.#index[b + 2] ?? 0;
    const length = (this.#index[a + 3] ?? 0) - start;
    const otherLength = (other.#index[b + 3] ?? 0) - otherStart;
    const shared = Math.min(length, otherLength);
    for (let i = 0; i < shared; i++) {
      const difference = (this.#bytes[start + i] ?? 0) - (other.#bytes[otherStart + i] ?? 0);
      if (difference !== 0) {
        return difference;
      }
    }
    return length - otherLength;
  }

  #reserve(bytes: number): void {
    const needed = this.#usedBytes + bytes;
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, this.#usedBytes));
      this.#bytes = grown;
    }
    if ((this.#count + 1) * FIELDS > this.#index.length) {
      const grown = new Uint32Array(this.#index.length * 2);
      grown.set(this.#index);
      this.#index = grown;
    }
  }
}

/** Below 48 bytes a loop is faster than `set` with its view (40 ns). */
function copyRange(
  from: Uint8Array,
  start: number,
  length: number,
  to: Uint8Array,
  at: number,
): void {
  if (length > 48) {
    to.set(from.subarray(start, start + length), at);
    return;
  }
  for (let i = 0; i < length; i++) {
    to[at + i] = from[start + i] ?? 0;
  }
}
