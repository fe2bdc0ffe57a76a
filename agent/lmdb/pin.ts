import type { ReadTxn } from './environment.ts';
import type { Meta } from './page.ts';

/** A pin that several may hold: its pages stay until the last one releases it. */
export class Pin {
  readonly #read: ReadTxn;
  #holders = 1;

  constructor(read: ReadTxn) {
    this.#read = read;
  }

  get meta(): Meta {
    return this.#read.meta;
  }

  retain(): void {
    this.#holders += 1;
  }

  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.#read.close();
  }
}
