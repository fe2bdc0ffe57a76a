/** Slots at first; always a power of two. */
const FIRST_SLOTS = 1 << 12;
const FNV_PRIME = 0x0100_0193;

/**
 * Which keys were seen, by 64-bit hashes: 16 to 32 bytes per key, whatever the keys are. A key that was added is always
 * found; one that was not is found by mistake once in 2^64 divided by their number.
 */
export class KeyHashes {
  #slots = new Uint32Array(2 * FIRST_SLOTS);
  #size = 0;
  #hi = 0;
  #lo = 0;

  get size(): number {
    return this.#size;
  }

  add(dbiName: string, key: Uint8Array, start: number, end: number): void {
    this.#hash(dbiName, key, start, end);
    if (!insert(this.#slots, this.#hi, this.#lo)) {
      return;
    }
    this.#size += 1;
    if (this.#size * 4 > this.#slots.length) {
      this.#grow();
    }
  }

  has(dbiName: string, key: Uint8Array, start: number, end: number): boolean {
    this.#hash(dbiName, key, start, end);
    return this.#slots[findSlot(this.#slots, this.#hi, this.#lo)] !== 0;
  }

  #grow(): void {
    const before = this.#slots;
    this.#slots = new Uint32Array(2 * before.length);
    for (let at = 0; at < before.length; at += 2) {
      const hi = before[at] ?? 0;
      if (hi !== 0) {
        insert(this.#slots, hi, before[at + 1] ?? 0);
      }
    }
  }

  /** Two FNV-1a hashes with different beginnings, each mixed at the end; the first is never 0, which says "free". */
  #hash(dbiName: string, key: Uint8Array, start: number, end: number): void {
    let a = 0x811c_9dc5;
    let b = 0x1b87_3593;
    for (let i = 0; i < dbiName.length; i += 1) {
      a = Math.imul(a ^ dbiName.charCodeAt(i), FNV_PRIME);
      b = Math.imul(b ^ dbiName.charCodeAt(i), 0x85eb_ca6b) + 1;
    }
    a = Math.imul(a, FNV_PRIME);
    b = Math.imul(b, 0x85eb_ca6b) + 1;
    for (let i = start; i < end; i += 1) {
      const byte = key[i] ?? 0;
      a = Math.imul(a ^ byte, FNV_PRIME);
      b = Math.imul((b << 5) ^ (b >>> 27) ^ byte, 0x85eb_ca6b) + 1;
    }
    this.#hi = mix(a) || 1;
    this.#lo = mix(b ^ (end - start));
  }
}

/** False: it is there. */
function insert(slots: Uint32Array, hi: number, lo: number): boolean {
  const at = findSlot(slots, hi, lo);
  if (slots[at] !== 0) {
    return false;
  }
  slots[at] = hi;
  slots[at + 1] = lo;
  return true;
}

/** The slot that holds the hash, or the free one where it belongs. */
function findSlot(slots: Uint32Array, hi: number, lo: number): number {
  const mask = slots.length / 2 - 1;
  let slot = (hi ^ lo) & mask;
  while (slots[2 * slot] !== 0 && (slots[2 * slot] !== hi || slots[2 * slot + 1] !== lo)) {
    slot = (slot + 1) & mask;
  }
  return 2 * slot;
}

function mix(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
