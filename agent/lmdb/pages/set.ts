const CHUNK_SHIFT = 12;
const CHUNK_WORDS = 1 << (CHUNK_SHIFT - 5);
const CHUNK_MASK = (1 << CHUNK_SHIFT) - 1;

/**
 * A set of page numbers (unsigned 32-bit integers), as bits in chunks of 512 bytes that exist only where something
 * is set: 32 bytes per mebibyte of a full file of 4 KiB pages, and a set of ten pages far apart costs 5 KiB.
 */
export class PageSet {
  readonly #chunks: (Uint32Array | undefined)[] = [];
  #size = 0;

  /** How many page numbers it holds. */
  get size(): number {
    return this.#size;
  }

  has(page: number): boolean {
    const chunk = this.#chunks[page >>> CHUNK_SHIFT];
    return chunk !== undefined && ((chunk[(page & CHUNK_MASK) >>> 5]! >>> (page & 31)) & 1) === 1;
  }

  /** True if it was not in the set before. */
  add(page: number): boolean {
    const chunk = this.#chunkFor(page >>> CHUNK_SHIFT);
    const word = (page & CHUNK_MASK) >>> 5;
    const bit = 1 << (page & 31);
    if ((chunk[word]! & bit) !== 0) {
      return false;
    }
    chunk[word]! |= bit;
    this.#size += 1;
    return true;
  }

  /** True if it was in the set before. */
  delete(page: number): boolean {
    if (!this.has(page)) {
      return false;
    }
    this.#chunks[page >>> CHUNK_SHIFT]![(page & CHUNK_MASK) >>> 5]! &= ~(1 << (page & 31));
    this.#size -= 1;
    return true;
  }

  addAll(other: PageSet): void {
    for (const [index, chunk] of other.#chunks.entries()) {
      if (chunk !== undefined) {
        const own = this.#chunkFor(index);
        for (let word = 0; word < CHUNK_WORDS; word += 1) {
          this.#size += countBits(chunk[word]! & ~own[word]!);
          own[word]! |= chunk[word]!;
        }
      }
    }
  }

  deleteAll(other: PageSet): void {
    for (const [index, chunk] of other.#chunks.entries()) {
      const own = this.#chunks[index];
      if (chunk !== undefined && own !== undefined) {
        for (let word = 0; word < CHUNK_WORDS; word += 1) {
          this.#size -= countBits(chunk[word]! & own[word]!);
          own[word]! &= ~chunk[word]!;
        }
      }
    }
  }

  equals(other: PageSet): boolean {
    if (this.#size !== other.#size) {
      return false;
    }
    for (const [index, chunk] of this.#chunks.entries()) {
      const theirs = other.#chunks[index];
      if (chunk !== undefined && chunk.some((word, at) => word !== (theirs?.[at] ?? 0))) {
        return false;
      }
    }
    // Equal sizes, and everything of ours is theirs.
    return true;
  }

  #chunkFor(index: number): Uint32Array {
    while (this.#chunks.length <= index) {
      this.#chunks.push(undefined);
    }
    return (this.#chunks[index] ??= new Uint32Array(CHUNK_WORDS));
  }
}

function countBits(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) {
    count += 1;
  }
  return count;
}
