/** Transactions from `first` to `last`, both included. */
export type TxnRange = { readonly first: number; readonly last: number };

/**
 * Ids of transactions, as ranges: an agent whose application writes nothing merges for weeks without storing an
 * object of its own, and all that while no id may be forgotten.
 */
export class TxnRanges {
  readonly #ranges: readonly TxnRange[];

  constructor(ranges: Iterable<TxnRange> = []) {
    this.#ranges = [...ranges].toSorted((a, b) => a.first - b.first);
  }

  get size(): number {
    return this.#ranges.length;
  }

  /** The range with the highest ids. */
  get newest(): TxnRange | undefined {
    return this.#ranges.at(-1);
  }

  has(txnId: number): boolean {
    let low = 0;
    let high = this.#ranges.length;
    // Afterwards `low` is the first range that begins above the id.
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle]?.first ?? 0) <= txnId) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return txnId <= (this.#ranges[low - 1]?.last ?? -1);
  }

  [Symbol.iterator](): IterableIterator<TxnRange> {
    return this.#ranges[Symbol.iterator]();
  }
}
