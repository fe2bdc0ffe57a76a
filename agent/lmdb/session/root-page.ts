import type { DataFile, Meta } from '../pages/data-file.ts';
import { EMPTY_ROOT } from '../pages/layout.ts';

/**
 * One page of a pinned state, byte for byte: the root of the free list, which has the ids of the last transactions in
 * it, so that hardly two states have it in common. While it is pinned nobody may write over it. One read each time.
 */
export class RootPage {
  #kept: KeptPage = { number: EMPTY_ROOT, bytes: Buffer.alloc(0) };
  #prepared: KeptPage = { number: EMPTY_ROOT, bytes: Buffer.alloc(0) };
  #now: Buffer = Buffer.alloc(0);

  /** Reads the page of another state, which {@link keepPrepared} then takes; until then the kept one stays. */
  prepare(file: DataFile, { freeDb, mainDb }: Meta): void {
    // A compacted copy has no free page at first.
    const number = freeDb.root === EMPTY_ROOT ? mainDb.root : freeDb.root;
    const bytes = sized(this.#prepared.bytes, file);
    if (number !== EMPTY_ROOT) {
      file.readBytes(number, bytes);
    }
    this.#prepared = { number, bytes };
  }

  keepPrepared(): void {
    [this.#kept, this.#prepared] = [this.#prepared, this.#kept];
  }

  /** False: it was written over, so that other pages of that state may have been, too. */
  isKept(file: DataFile): boolean {
    const { number, bytes } = this.#kept;
    if (number === EMPTY_ROOT) {
      return true;
    }
    this.#now = sized(this.#now, file);
    file.readBytes(number, this.#now);
    return this.#now.equals(bytes);
  }
}

type KeptPage = { readonly number: number; readonly bytes: Buffer };

function sized(buffer: Buffer, { pageSize }: DataFile): Buffer {
  return buffer.length === pageSize ? buffer : Buffer.alloc(pageSize);
}
