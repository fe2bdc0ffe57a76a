import { keyOrderOf } from '../../../protocol/key-order.ts';
import { dupComparator } from './comparator.ts';
import type { KeyOrder } from '../../../protocol/key-order.ts';
import { F_DUPDATA, F_SUBDATA, MDB_DUPSORT } from './layout.ts';
import type { DbRecord, PageSource } from './layout.ts';
import { openDuplicates } from './duplicates.ts';
import { ValueView } from './value.ts';
import { TreeWalker, type PageFilter } from './walker.ts';

const NO_BYTES = Buffer.alloc(0);

export type PageCursorOptions = {
  /** Asked before each page of the keys' tree is read (true: go on); such a cursor must not seek. */
  readonly onPage?: PageFilter;
  /** Check the order of what {@link PageCursor.next} comes by, see {@link PageCursor.isOrdered}. */
  readonly checksOrder?: boolean;
};

/**
 * Moves through the entries of one DBI as of one root, in the DBI's key order; in a DUPSORT DBI through its
 * (key, value) pairs. The fields are borrowed views of the current entry: valid until the next move, and only while
 * the read transaction that pins the root is open. Makes no object per entry.
 *
 * In the main database the records of DBIs are entries, too: {@link isSubData}.
 * Errors of every move: ENVIRONMENT_UNREADABLE.
 */
export class PageCursor {
  keyBuffer: Buffer = NO_BYTES;
  keyStart = 0;
  keyEnd = 0;

  readonly #walker: TreeWalker;
  readonly #value: ValueView;
  readonly #compareKeys: KeyOrder;
  readonly #compareDuplicates: KeyOrder;
  /** Through the values of the current key; undefined: not a DUPSORT DBI. */
  readonly #duplicates: TreeWalker | undefined;
  readonly #source: PageSource;
  readonly #root: number;

  constructor(file: PageSource, db: DbRecord, options: PageCursorOptions = {}) {
    const { onPage, checksOrder = false } = options;
    this.#source = file;
    this.#root = db.root;
    this.#compareKeys = keyOrderOf(db.flags);
    this.#compareDuplicates = dupComparator(db.flags);
    this.#walker = new TreeWalker(file, {
      ...(onPage === undefined ? {} : { filter: onPage }),
      order: checksOrder ? this.#compareKeys : undefined,
    });
    this.#walker.openTree(db.root);
    this.#value = new ValueView(file);
    if ((db.flags & MDB_DUPSORT) !== 0) {
      this.#duplicates = new TreeWalker(file, {
        parent: this.#walker,
        order: checksOrder ? this.#compareDuplicates : undefined,
      });
    }
  }

  /**
   * With `checksOrder`: false once the walk has come to keys, or values of a key, that are not in the order of the DBI's
   * flags. Known before the entries of that page are shown.
   */
  get isOrdered(): boolean {
    return this.#walker.isOrdered && this.#duplicates?.isOrdered !== false;
  }

  /** Moves to the first entry; false: the DBI is empty. */
  first(): boolean {
    this.#walker.openTree(this.#root);
    this.#duplicates?.openTree(-1);
    return this.next();
  }

  /** Moves to the next entry, at first to the first one; false: there is none, and so at every later call. */
  next(): boolean {
    if (this.#duplicates !== undefined && this.#duplicates.next()) {
      this.#value.showKey(this.#duplicates.node);
      return true;
    }
    return this.#showFrom(this.#walker.next());
  }

  /**
   * Moves to the first entry whose key is `key` or above it in the DBI's order; false: there is none. Seeking forward
   * in small steps costs as little as walking; backward or far ahead it descends from the root.
   */
  seek(key: Uint8Array, start: number, end: number): boolean {
    this.#duplicates?.openTree(-1);
    return this.#showFrom(this.#walker.seek(this.#compareKeys, key, start, end));
  }

  /** True if the last {@link seek} is known to have found the very key; false: compare it. */
  get isExact(): boolean {
    return this.#walker.isExact;
  }

  /**
   * In a DUPSORT DBI: moves to the first value of `key` that is `value` or above it in the order of duplicates; false:
   * the key has none.
   */
  seekPair(key: Uint8Array, value: Uint8Array): boolean {
    const { node } = this.#walker;
    const duplicates = this.#duplicates;
    duplicates?.openTree(-1);
    if (duplicates === undefined || !this.#walker.seek(this.#compareKeys, key, 0, key.length)) {
      return false;
    }
    this.keyBuffer = node.buffer;
    this.keyStart = node.keyStart;
    this.keyEnd = node.keyEnd;
    if (this.#compareKeys(node.buffer, node.keyStart, node.keyEnd, key, 0, key.length) !== 0) {
      return false;
    }
    if ((node.nodeFlags & F_DUPDATA) === 0) {
      this.#value.showData(node);
      const { buffer, start, end } = this.#value;
      return this.#compareDuplicates(buffer, start, end, value, 0, value.length) >= 0;
    }
    openDuplicates(duplicates, node, this.#source.pageCount);
    if (!duplicates.seek(this.#compareDuplicates, value, 0, value.length)) {
      return false;
    }
    this.#value.showKey(duplicates.node);
    return true;
  }

  /** Bytes in which the value stands from `valueStart` to `valueEnd`; one on overflow pages is read only now. */
  get valueBuffer(): Buffer {
    return this.#value.buffer;
  }

  get valueStart(): number {
    return this.#value.start;
  }

  get valueEnd(): number {
    return this.#value.end;
  }

  /** True if the value is a DBI's record, in the main database. */
  get isSubData(): boolean {
    return (this.#walker.node.nodeFlags & (F_SUBDATA | F_DUPDATA)) === F_SUBDATA;
  }

  /** Shows the current node of the walk, if there is one. */
  #showFrom(hasNode: boolean): boolean {
    const { node } = this.#walker;
    const duplicates = this.#duplicates;
    for (let has = hasNode; has; has = this.#walker.next()) {
      this.keyBuffer = node.buffer;
      this.keyStart = node.keyStart;
      this.keyEnd = node.keyEnd;
      if (duplicates === undefined || (node.nodeFlags & F_DUPDATA) === 0) {
        this.#value.showData(node);
        return true;
      }
      openDuplicates(duplicates, node, this.#source.pageCount);
      if (duplicates.next()) {
        this.#value.showKey(duplicates.node);
        return true;
      }
      // LMDB removes a key with its last value; a set without any is passed over.
    }
    return false;
  }
}

/** True if the cursor's key is exactly this one. */
export function isAtKey(cursor: PageCursor, key: Uint8Array): boolean {
  const { keyBuffer, keyStart, keyEnd } = cursor;
  if (keyEnd - keyStart !== key.length) {
    return false;
  }
  for (let i = 0; i < key.length; i += 1) {
    if (keyBuffer[keyStart + i] !== key[i]) {
      return false;
    }
  }
  return true;
}
