/** What is under way in this process: the reason where it does not end. */
export class Unfinished {
  readonly #running = new Map<number, string>();
  #lastId = 0;

  /** Something begins that may take long; the function that is returned says that it is over. */
  begin(what: string): () => void {
    this.#lastId += 1;
    const id = this.#lastId;
    this.#running.set(id, what);
    return () => {
      this.#running.delete(id);
    };
  }

  /** What has been under way for the longest time; undefined: nothing. */
  describe(): string | undefined {
    const [oldest] = this.#running.values();
    return oldest;
  }
}

/** Of this process: whoever ends it late asks here why. */
export const unfinished = new Unfinished();
