import { SyncError } from '../../../protocol/errors.ts';
import { needsReopen, type Environment, type ReadTxn } from '../environment.ts';
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

/** A pin that somebody holds beside the session. */
export type RetainedPin = { readonly meta: Meta; release(): void };

/** The pin of a session. It moves to newer states of one environment, and opens the LMDB anew where the map has grown. */
export class MovingPin {
  readonly #environment: Environment;
  /** Follows to a newer state; throws where the pin must stay. */
  readonly #advance: (to: Meta) => void;
  #pin: Pin;
  /** Pins held elsewhere. They cannot outlive this opening of the LMDB. */
  #retained = 0;

  /** Pins the newest state. */
  constructor(environment: Environment, advance: (to: Meta) => void) {
    this.#environment = environment;
    this.#advance = advance;
    this.#pin = new Pin(environment.beginRead());
  }

  get meta(): Meta {
    return this.#pin.meta;
  }

  /** The pin, which must be at this state, for somebody else to hold. Errors: TRANSACTION_FAILED. */
  retainAt(state: Meta): RetainedPin {
    const pin = this.#pin;
    pin.retainAt(state);
    this.#retained += 1;
    const release = () => {
      this.#retained -= 1;
      pin.release();
    };
    return { meta: pin.meta, release };
  }

  /** Moves to the newest state. Returns its meta if the LMDB was opened anew for it: then nothing has followed. */
  async move(): Promise<Meta | undefined> {
    let read: ReadTxn | undefined;
    try {
      read = this.#environment.beginRead();
    } catch (error) {
      if (!needsReopen(error) || this.#retained > 0) {
        throw error;
      }
    }
    if (read !== undefined && (!this.#environment.mapGrew(read.meta) || this.#retained > 0)) {
      this.#adopt(read);
      return undefined;
    }
    read?.close();
    return this.#reopen();
  }

  /** As {@link move}, but a grown map is left as it is. */
  moveWithoutReopen(): void {
    this.#adopt(this.#environment.beginRead());
  }

  release(): void {
    this.#pin.release();
  }

  #adopt(read: ReadTxn): void {
    try {
      this.#advance(read.meta);
    } catch (error) {
      read.close();
      throw error;
    }
    this.#pin.release();
    this.#pin = new Pin(read);
  }

  async #reopen(): Promise<Meta> {
    this.#pin.release();
    await this.#environment.reopen();
    const read = this.#environment.beginRead();
    this.#pin = new Pin(read);
    return read.meta;
  }
}
