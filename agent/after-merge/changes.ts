import type { TouchedKeys } from '../lmdb/touched-keys.ts';

/** What merges have changed since a hook ran, by database. */
export type Changes = ReadonlyMap<string, TouchedKeys>;

/** Gathers changes while a hook waits or runs; per database in bounded memory. */
export class PendingChanges {
  readonly #keysMax: number;
  #databases = new Map<string, Map<string, Set<string>> | 'many'>();

  constructor(keysMax: number) {
    this.#keysMax = keysMax;
  }

  get isEmpty(): boolean {
    return this.#databases.size === 0;
  }

  add(database: string, touched: TouchedKeys): void {
    const known = this.#databases.get(database) ?? new Map<string, Set<string>>();
    if (known === 'many') {
      return;
    }
    if (touched === 'many') {
      this.#databases.set(database, 'many');
      return;
    }
    for (const [dbiName, keys] of touched) {
      const own = known.get(dbiName) ?? new Set();
      for (const key of keys) {
        own.add(key);
      }
      known.set(dbiName, own);
    }
    const size = [...known.values()].reduce((sum, keys) => sum + keys.size, 0);
    this.#databases.set(database, size > this.#keysMax ? 'many' : known);
  }

  /** All of it; from now on there is nothing. */
  take(): Changes {
    const taken = this.#databases;
    this.#databases = new Map();
    return taken;
  }
}
