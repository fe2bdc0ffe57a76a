/** Two u32 numbers before each entry: bytes of its key and bytes of its value. */
const HEAD_BYTES = 8;
/** In the first of them: the entry is left out. A key has 511 bytes at most. */
const LEFT_OUT = 0x8000_0000;
/** Entries begin at multiples of 4 bytes; so many bits are 0 in their offsets. */
const ALIGNMENT_BITS = 2;
const FIRST_CHUNK_BYTES = 4 * 1024;
const LARGEST_CHUNK_BYTES = 1024 * 1024;

/**
 * Entries of one DBI, one behind the other in `bytes[start, end)`.
 *
 * Shape of an entry: u32 key length, u32 value length, key, value, padded to 4 bytes; numbers in the machine's
 * order, because the addon reads them. An entry is named by the offset at which it begins.
 */
export class PackedRow {
  readonly dbiName: string;
  readonly bytes: Buffer;
  readonly start: number;
  end: number;
  /** Values begin with a header, in which the id of the transaction that puts them is filled in. */
  readonly hasHeaders: boolean;
  readonly #heads: Uint32Array;

  constructor(parts: { dbiName: string; chunk: PackedChunk; start: number; hasHeaders: boolean }) {
    this.dbiName = parts.dbiName;
    this.bytes = parts.chunk.bytes;
    this.#heads = parts.chunk.heads;
    this.start = parts.start;
    this.end = parts.start;
    this.hasHeaders = parts.hasHeaders;
  }

  keyBytes(at: number): number {
    return (this.#heads[at >>> ALIGNMENT_BITS] ?? 0) & ~LEFT_OUT;
  }

  valueBytes(at: number): number {
    return this.#heads[(at >>> ALIGNMENT_BITS) + 1] ?? 0;
  }

  keyStart(at: number): number {
    return at + HEAD_BYTES;
  }

  /** Where the entry behind this one begins. */
  next(at: number): number {
    return at + entrySize(this.keyBytes(at), this.valueBytes(at));
  }

  /** A view. */
  key(at: number): Buffer {
    const start = this.keyStart(at);
    return this.bytes.subarray(start, start + this.keyBytes(at));
  }

  /** A view. */
  value(at: number): Buffer {
    const start = this.keyStart(at) + this.keyBytes(at);
    return this.bytes.subarray(start, start + this.valueBytes(at));
  }

  isLeftOut(at: number): boolean {
    return ((this.#heads[at >>> ALIGNMENT_BITS] ?? 0) & LEFT_OUT) !== 0;
  }

  /** The entry is put by nobody from now on. */
  leaveOut(at: number): void {
    this.#heads[at >>> ALIGNMENT_BITS] = this.keyBytes(at) | LEFT_OUT;
  }

  /** Takes the room for one more entry at the end; the caller fills in key and value behind the head. */
  append(keyBytes: number, valueBytes: number): number {
    const at = this.end;
    this.#heads[at >>> ALIGNMENT_BITS] = keyBytes;
    this.#heads[(at >>> ALIGNMENT_BITS) + 1] = valueBytes;
    this.end = at + entrySize(keyBytes, valueBytes);
    return at;
  }
}

type PackedChunk = { readonly bytes: Buffer; readonly heads: Uint32Array };

/** Where an entry is: its row, and its offset there. */
export type PackedPlace = { readonly row: PackedRow; readonly at: number };

/**
 * Entries to be put, in the order in which they came, without an object for each: a million of them are a hundred
 * buffers. No buffer is used twice, so whoever holds a row may go on reading it.
 */
export class PackedEntries {
  readonly rows: PackedRow[] = [];
  /** Less those that were left out by {@link leaveOut}. */
  count = 0;
  bytes = 0;
  readonly #hasHeaders: boolean;
  #chunk: PackedChunk | undefined;
  #chunkBytes = FIRST_CHUNK_BYTES;
  #row: PackedRow | undefined;

  /** `hasHeaders`: see {@link PackedRow}. */
  constructor({ hasHeaders }: { readonly hasHeaders: boolean }) {
    this.#hasHeaders = hasHeaders;
  }

  /** The row of the last entry. */
  get row(): PackedRow | undefined {
    return this.#row;
  }

  /**
   * Makes room for one more entry, and returns where it begins in {@link row}; the caller fills in key and value,
   * from {@link PackedRow.keyStart} on.
   */
  append(dbiName: string, keyBytes: number, valueBytes: number): number {
    const size = entrySize(keyBytes, valueBytes);
    let row = this.#row;
    if (row === undefined || row.dbiName !== dbiName || row.end + size > row.bytes.length) {
      row = this.#begin(dbiName, size);
    }
    this.count += 1;
    this.bytes += size;
    return row.append(keyBytes, valueBytes);
  }

  leaveOut({ row, at }: PackedPlace): void {
    row.leaveOut(at);
    this.count -= 1;
  }

  #begin(dbiName: string, size: number): PackedRow {
    let start = this.#row?.end ?? 0;
    let chunk = this.#chunk;
    if (chunk === undefined || start + size > chunk.bytes.length) {
      chunk = newChunk(Math.max(this.#chunkBytes, size));
      start = 0;
      this.#chunk = chunk;
      this.#chunkBytes = Math.min(2 * this.#chunkBytes, LARGEST_CHUNK_BYTES);
    }
    const row = new PackedRow({ dbiName, chunk, start, hasHeaders: this.#hasHeaders });
    this.rows.push(row);
    this.#row = row;
    return row;
  }
}

function entrySize(keyBytes: number, valueBytes: number): number {
  return HEAD_BYTES + aligned(keyBytes + valueBytes);
}

function newChunk(bytes: number): PackedChunk {
  // Not from Node's pool, where it would begin anywhere.
  const chunk = Buffer.allocUnsafeSlow(aligned(bytes));
  const heads = new Uint32Array(chunk.buffer, chunk.byteOffset, chunk.length >>> ALIGNMENT_BITS);
  return { bytes: chunk, heads };
}

function aligned(bytes: number): number {
  return ((bytes + 3) >>> ALIGNMENT_BITS) << ALIGNMENT_BITS;
}
