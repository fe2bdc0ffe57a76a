/** What a remembered key costs beyond its bytes: a string and its place in a Set. */
const KEY_OVERHEAD_BYTES = 64;

/**
 * Keys per DBI, in bounded memory: beyond the bound it only remembers that it overflowed, and holds nothing.
 * Keys are kept as latin1 text, one character per byte.
 */
export class KeySet {
  readonly #maxBytes: number;
  readonly #dbis = new Map<string, Set<string>>();
  #size = 0;
  #bytes = 0;
  #overflowed = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** More keys were added than fit: which ones is to be found out by a scan. */
  get overflowed(): boolean {
    return this.#overflowed;
  }

  get isEmpty(): boolean {
    return this.#size === 0 && !this.#overflowed;
  }

  add(dbiName: string, key: string): void {
    if (this.#overflowed) {
      return;
    }
    let keys = this.#dbis.get(dbiName);
    if (keys === undefined) {
      this.#dbis.set(dbiName, (keys = new Set()));
    }
    const before = keys.size;
    keys.add(key);
    if (keys.size === before) {
      return;
    }
    this.#size += 1;
    this.#bytes += key.length + KEY_OVERHEAD_BYTES;
    if (this.#bytes > this.#maxBytes) {
      this.overflow();
    }
  }

  has(dbiName: string, key: string): boolean {
    return this.#dbis.get(dbiName)?.has(key) === true;
  }

  delete(dbiName: string, key: string): void {
    if (this.#dbis.get(dbiName)?.delete(key) !== true) {
      return;
    }
    this.#size -= 1;
    this.#bytes -= key.length + KEY_OVERHEAD_BYTES;
  }

  /** Forgets the keys of one DBI. */
  deleteDbi(dbiName: string): void {
    for (const key of this.#dbis.get(dbiName) ?? []) {
      this.delete(dbiName, key);
    }
  }

  /** Forgets the keys; all that is known is that there are some. */
  overflow(): void {
    this.clear();
    this.#overflowed = true;
  }

  addAll(other: KeySet): void {
    if (other.overflowed) {
      this.overflow();
    }
    for (const [dbiName, keys] of other.#dbis) {
      for (const key of keys) {
        this.add(dbiName, key);
      }
    }
  }

  clear(): void {
    this.#dbis.clear();
    this.#size = 0;
    this.#bytes = 0;
    this.#overflowed = false;
  }

  /** DBI names in their order, each with its keys in no order. */
  *dbis(): IterableIterator<[string, ReadonlySet<string>]> {
    for (const name of [...this.#dbis.keys()].toSorted()) {
      const keys = this.#dbis.get(name);
      if (keys !== undefined) {
        yield [name, keys];
      }
    }
  }
}
