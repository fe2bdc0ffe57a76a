import { SyncError } from '../../../protocol/errors.ts';
import type { Environment, ReadTxn } from '../environment.ts';
import type { Meta } from '../pages/data-file.ts';
import { needsReopen } from '../txn-errors.ts';

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

/** A pin that somebody holds beside the session. */
export type RetainedPin = { readonly meta: Meta; release(): void };

/** The pin of a session. It moves to newer states of one environment, and opens the LMDB anew where that must be. */
export class MovingPin {
  readonly #environment: Environment;
  /** Follows to a newer state; throws where the pin must stay. */
  readonly #advance: (to: Meta) => void;
  /** undefined: nothing is pinned, because nothing can follow now. */
  #pin: Pin | undefined;
  /** Pins held elsewhere. They cannot outlive this opening of the LMDB. */
  #retained = 0;
  #mustReopen = false;

  /** Pins the newest state. */
  constructor(environment: Environment, advance: (to: Meta) => void) {
    this.#environment = environment;
    this.#advance = advance;
    this.#pin = new Pin(environment.beginRead());
  }

  /** The newest state as of the last move. Errors: TRANSACTION_FAILED, where nothing is pinned. */
  get meta(): Meta {
    return this.#require().meta;
  }

  /** The pin, which must be at this state, for somebody else to hold. Errors: TRANSACTION_FAILED. */
  retainAt(state: Meta): RetainedPin {
    const pin = this.#require();
    pin.retainAt(state);
    this.#retained += 1;
    const release = () => {
      this.#retained -= 1;
      pin.release();
    };
    return { meta: pin.meta, release };
  }

  /** The next {@link move} opens the LMDB anew. */
  requireReopen(): void {
    this.#mustReopen = true;
  }

  /**
   * Moves to the newest state. Returns its meta if nothing has followed: the LMDB was opened anew for it, nothing was
   * pinned before, or `follows` is false. Errors besides those of `advance`: ENVIRONMENT_REPLACED.
   */
  async move({ follows }: { readonly follows: boolean }): Promise<Meta | undefined> {
    const environment = this.#environment;
    const mayReopen = this.#retained === 0;
    if (!environment.isOpen || (this.#mustReopen && mayReopen)) {
      return this.#reopen();
    }
    environment.requireAtPath();
    let read: ReadTxn;
    try {
      read = environment.beginRead();
    } catch (error) {
      if (!needsReopen(error) || !mayReopen) {
        throw error;
      }
      return this.#reopen();
    }
    if (mayReopen && environment.mapGrew(read.meta)) {
      read.close();
      return this.#reopen();
    }
    return this.#adopt(read, follows && this.#pin !== undefined);
  }

  /** As {@link move}, but a grown map is left as it is. */
  moveWithoutReopen(): void {
    this.#adopt(this.#environment.beginRead(), true);
  }

  /** Pins nothing, until the next {@link move}: its pages can be used again by whoever writes. */
  release(): void {
    this.#pin?.release();
    this.#pin = undefined;
  }

  #require(): Pin {
    if (this.#pin === undefined) {
      throw new SyncError('TRANSACTION_FAILED', 'no state is pinned', { retryable: true });
    }
    return this.#pin;
  }

  #adopt(read: ReadTxn, follows: boolean): Meta | undefined {
    if (follows) {
      try {
        this.#advance(read.meta);
      } catch (error) {
        read.close();
        throw error;
      }
    }
    this.#pin?.release();
    this.#pin = new Pin(read);
    return follows ? undefined : read.meta;
  }

  async #reopen(): Promise<Meta> {
    this.release();
    await this.#environment.reopen();
    this.#mustReopen = false;
    const read = this.#environment.beginRead();
    this.#pin = new Pin(read);
    return read.meta;
  }
}
