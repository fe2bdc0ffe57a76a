import type { PackedRow } from './packed-entries.ts';

/** The entries of a row from `start` to `end`. */
export type PackedPart = { readonly row: PackedRow; readonly start: number; end: number };

/** Of the slots at most this part is taken. */
const LOAD = 0.5;
const FNV_OFFSET = 0x811c_9dc5;
const FNV_PRIME = 0x0100_0193;
/** Entries begin at multiples of it. */
const ALIGNMENT = 4;

/**
 * Finds packed entries by key: 8 to 16 bytes of memory for each, whatever the keys are. Of a key that occurs several
 * times the last one counts; entries that are left out do not.
 */
export class PackedIndex {
  readonly #parts: readonly PackedPart[];
  /** Where each part begins in the numbering of all entries; 0 means that a slot is free. */
  readonly #bases: number[] = [];
  readonly #slots: Float64Array;

  constructor(parts: readonly PackedPart[]) {
    this.#parts = parts;
    let entries = 0;
    let base = 1;
    for (const { row, start, end } of parts) {
      this.#bases.push(base);
      base += (end - start) / ALIGNMENT;
      for (let at = start; at < end; at = row.next(at)) {
        entries += 1;
      }
    }
    this.#slots = new Float64Array(slotsFor(entries));
    for (const [index, { row, start, end }] of parts.entries()) {
      const first = this.#bases[index] ?? 0;
      for (let at = start; at < end; at = row.next(at)) {
        if (!row.isLeftOut(at)) {
          this.#slots[this.#find(row.dbiName, row.key(at))] = first + (at - start) / ALIGNMENT;
        }
      }
    }
  }

  /** The value, a view; keys are given as latin1 text, one character per byte. */
  get(dbiName: string, key: string): Buffer | undefined {
    if (this.#parts.length === 0) {
      return undefined;
    }
    const place = this.#placeOf(this.#slots[this.#find(dbiName, Buffer.from(key, 'latin1'))] ?? 0);
    return place?.row.value(place.at);
  }

  /** The slot that holds the key, or the free one where it belongs. */
  #find(dbiName: string, key: Buffer): number {
    const mask = this.#slots.length - 1;
    let slot = hash(dbiName, key) & mask;
    for (;;) {
      const place = this.#placeOf(this.#slots[slot] ?? 0);
      if (
        place === undefined ||
        (place.row.dbiName === dbiName && place.row.key(place.at).equals(key))
      ) {
        return slot;
      }
      slot = (slot + 1) & mask;
    }
  }

  #placeOf(number: number): { row: PackedRow; at: number } | undefined {
    if (number === 0) {
      return undefined;
    }
    let low = 0;
    let high = this.#bases.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#bases[middle] ?? 0) <= number) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    const part = this.#parts[low];
    return (
      part && { row: part.row, at: part.start + (number - (this.#bases[low] ?? 0)) * ALIGNMENT }
    );
  }
}

function slotsFor(entries: number): number {
  let slots = 16;
  while (slots * LOAD < entries) {
    slots *= 2;
  }
  return slots;
}

function hash(dbiName: string, key: Buffer): number {
  let h = FNV_OFFSET;
  for (let i = 0; i < dbiName.length; i += 1) {
    h = Math.imul(h ^ dbiName.charCodeAt(i), FNV_PRIME);
  }
  for (let i = 0; i < key.length; i += 1) {
    h = Math.imul(h ^ (key[i] ?? 0), FNV_PRIME);
  }
  // The lowest bits decide; a product mixes only upwards.
  h = Math.imul(h ^ (h >>> 15), 0x85eb_ca6b);
  return (h ^ (h >>> 13)) >>> 0;
}
