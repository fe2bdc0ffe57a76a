import type { KeyOrder } from '../../../protocol/key-order.ts';

const NONE = -1;

/** The key that a walk was sent to last; used again for each, so that seeking makes no objects. */
export class SeekTarget {
  #bytes: Buffer = Buffer.alloc(0);
  #length = NONE;

  /** The walk has moved on otherwise. */
  forget(): void {
    this.#length = NONE;
  }

  remember(key: Uint8Array, start: number, end: number): void {
    const length = end - start;
    if (this.#bytes.length < length) {
      this.#bytes = Buffer.allocUnsafeSlow(Math.max(512, length));
    }
    for (let i = 0; i < length; i += 1) {
      this.#bytes[i] = key[start + i]!;
    }
    this.#length = length;
  }

  /** True if there is one, and it is `key` or below it. */
  isUpTo(order: KeyOrder, key: Uint8Array, start: number, end: number): boolean {
    return this.#length !== NONE && order(this.#bytes, 0, this.#length, key, start, end) <= 0;
  }
}
