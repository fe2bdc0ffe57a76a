/** Whole native values (header and application value) by DBI and key; keys as latin1 text. */
export class ValueMap {
  readonly #dbis = new Map<string, Map<string, Buffer>>();
  #size = 0;
  #bytes = 0;

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(dbiName: string, key: string): Buffer | undefined {
    return this.#dbis.get(dbiName)?.get(key);
  }

  set(dbiName: string, key: string, value: Buffer): void {
    let dbi = this.#dbis.get(dbiName);
    if (dbi === undefined) {
      this.#dbis.set(dbiName, (dbi = new Map()));
    }
    this.delete(dbiName, key);
    this.#size += 1;
    this.#bytes += key.length + value.length;
    dbi.set(key, value);
  }

  delete(dbiName: string, key: string): void {
    const dbi = this.#dbis.get(dbiName);
    const value = dbi?.get(key);
    if (value !== undefined && dbi?.delete(key) === true) {
      this.#size -= 1;
      this.#bytes -= key.length + value.length;
    }
  }

  deleteDbi(dbiName: string): void {
    for (const [key, value] of this.#dbis.get(dbiName) ?? []) {
      this.#size -= 1;
      this.#bytes -= key.length + value.length;
    }
    this.#dbis.delete(dbiName);
  }

  *entries(): IterableIterator<{ dbiName: string; key: string; value: Buffer }> {
    for (const [dbiName, dbi] of this.#dbis) {
      for (const [key, value] of dbi) {
        yield { dbiName, key, value };
      }
    }
  }
}
