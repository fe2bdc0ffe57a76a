import { SyncError } from '../../../protocol/errors.ts';

/** Names that the hint lists at most. */
const NAMES_MAX = 50;

/** Which DBIs of an object are printed: one, or all. Remembers whether that one was there. */
export class DbiChoice {
  readonly #only: string;
  readonly #names = new Set<string>();
  #isFound = false;

  /** Empty: all. */
  constructor(only: string) {
    this.#only = only;
  }

  /** True if the DBI, which the object has, is to be printed. */
  takes(name: string): boolean {
    const isTaken = this.#only === '' || this.#only === name;
    this.#isFound ||= isTaken;
    if (this.#names.size < NAMES_MAX) {
      this.#names.add(name);
    }
    return isTaken;
  }

  /** After all DBIs. Errors: USAGE where the one that was asked for is not in the object. */
  requireFound(object: string): void {
    if (this.#only === '' || this.#isFound) {
      return;
    }
    throw new SyncError('USAGE', `no DBI "${this.#only}" in ${object}`, {
      hint:
        this.#names.size === 0
          ? 'Leave --dbi out: the object has no DBI at all.'
          : `Name one of: ${[...this.#names].join(', ')}.`,
    });
  }
}
