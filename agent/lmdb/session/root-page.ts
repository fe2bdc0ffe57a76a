import type { DataFile, Meta } from '../pages/data-file.ts';
import { EMPTY_ROOT } from '../pages/layout.ts';

/**
 * One page of a pinned state, byte for byte: the root of the free list, which has the ids of the last transactions in
 * it, so that hardly two states have it in common. While it is pinned nobody may write over it. One read each time.
 */
export class RootPage {
  #number = EMPTY_ROOT;
  #kept: Buffer = Buffer.alloc(0);
  #now: Buffer = Buffer.alloc(0);

  keep(file: DataFile, { freeDb, mainDb }: Meta): void {
    // A compacted copy has no free page at first.
    this.#number = freeDb.root === EMPTY_ROOT ? mainDb.root : freeDb.root;
    if (this.#kept.length !== file.pageSize) {
      this.#kept = Buffer.alloc(file.pageSize);
      this.#now = Buffer.alloc(file.pageSize);
    }
    if (this.#number !== EMPTY_ROOT) {
      file.readBytes(this.#number, this.#kept);
    }
  }

  /** False: it was written over, so that other pages of that state may have been, too. */
  isKept(file: DataFile): boolean {
    if (this.#number === EMPTY_ROOT) {
      return true;
    }
    file.readBytes(this.#number, this.#now);
    return this.#now.equals(this.#kept);
  }
}
