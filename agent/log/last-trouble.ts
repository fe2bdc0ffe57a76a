import type { LogFields } from './log.ts';

type Trouble = { readonly text: string; readonly atMs: number };

/** After that long it is said how old a trouble is: it may be over. */
const FRESH_MS = 10_000;

/** Remembers the last thing that did not work: the reason where a command is not done in its time. */
export class LastTrouble {
  readonly #now: () => number;
  #last: Trouble | undefined;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** A warning or an error of the log. */
  note(fields: LogFields, text: string): void {
    const what = text.replace(/, trying again$/, '');
    const parts = [fields['db'], what, fields['error']].filter((part) => part !== undefined);
    this.#last = { text: parts.join(': '), atMs: this.#now() };
  }

  /** `main: cannot read the storage: …`, with its age where it is not of now; undefined: nothing failed. */
  describe(): string | undefined {
    if (this.#last === undefined) {
      return undefined;
    }
    const ageMs = this.#now() - this.#last.atMs;
    const age = ageMs < FRESH_MS ? '' : ` (${Math.round(ageMs / 1000)}s ago)`;
    return `${this.#last.text}${age}`;
  }
}
