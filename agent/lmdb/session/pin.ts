import { SyncError } from '../../../protocol/errors.ts';
import type { ReadTxn } from '../environment.ts';
import type { Meta } from '../pages/data-file.ts';

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

  /** One holder more, of exactly this state. Errors: TRANSACTION_FAILED, when it is another one that is pinned. */
  retainAt(state: Meta): void {
    if (this.meta.txnId !== state.txnId) {
      throw new SyncError('TRANSACTION_FAILED', 'the newest state could not be pinned', {
        retryable: true,
      });
    }
    this.#holders += 1;
  }

  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) {
      this.#read.close();
    }
  }
}
