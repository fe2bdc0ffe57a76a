/** A bounded resource: {@link Semaphore}, or one that measures it. */
export interface Limit {
  /** How many may hold it at once. */
  readonly limit: number;
  /** Resolves with the function that gives the place back (idempotent); rejects when `signal` aborts first. */
  acquire(signal: AbortSignal): Promise<() => void>;
}

/** What bounds one database's work on others' objects. */
export type EngineLimits = {
  /** Objects that are held, from before the fetch until they are merged. */
  readonly memory: Limit;
  /** Merges into this LMDB: one at a time. Unless given, nobody measures it. */
  readonly merging?: Limit | undefined;
};

/** A bound on how many tasks hold something (memory, connections) at once; waiters are served in order. */
export class Semaphore implements Limit {
  readonly limit: number;
  readonly #waiting: (() => void)[] = [];
  #held = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  get held(): number {
    return this.#held;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  async acquire(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#held < this.limit) {
      this.#held += 1;
    } else {
      await new Promise<void>((resolve, reject) => {
        const abort = () => {
          this.#waiting.splice(this.#waiting.indexOf(take), 1);
          reject(signal.reason as Error);
        };
        // The place passes from the one who gives it back straight to the next in line.
        const take = () => {
          signal.removeEventListener('abort', abort);
          resolve();
        };
        signal.addEventListener('abort', abort, { once: true });
        this.#waiting.push(take);
      });
    }
    let held = true;
    return () => {
      if (!held) {
        return;
      }
      held = false;
      const next = this.#waiting.shift();
      if (next === undefined) {
        this.#held -= 1;
      } else {
        next();
      }
    };
  }
}
