/** The keys that a merge wrote, as latin1 text, by the name of the DBI that was written; "many": more than are remembered. */
export type TouchedKeys = ReadonlyMap<string, ReadonlySet<string>> | 'many';

/** Gathers keys, in bounded memory: a thousand keys take a fraction of a megabyte. */
export class TouchedKeySet {
  readonly #max: number;
  readonly #dbis = new Map<string, Set<string>>();
  #size = 0;

  constructor(max: number) {
    this.#max = max;
  }

  add(dbiName: string, key: Buffer): void {
    if (this.isFull) {
      return;
    }
    const keys = this.#dbis.get(dbiName);
    if (keys === undefined) {
      this.#dbis.set(dbiName, new Set([key.toString('latin1')]));
    } else {
      keys.add(key.toString('latin1'));
    }
    this.#size += 1;
    if (this.isFull) {
      this.#dbis.clear();
    }
  }

  /** More than are remembered: nothing more need be added. */
  get isFull(): boolean {
    return this.#size > this.#max;
  }

  get keys(): TouchedKeys {
    return this.isFull ? 'many' : this.#dbis;
  }
}
