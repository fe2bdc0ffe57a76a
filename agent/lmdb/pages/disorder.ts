import {
  compareBytes,
  compareIntegers,
  compareReversed,
  keyOrderOf,
  type KeyOrder,
} from '../../../protocol/key-order.ts';
import { dupComparator } from './comparator.ts';
import { openDuplicates } from './duplicates.ts';
import { F_DUPDATA, MDB_DUPSORT } from './layout.ts';
import type { DbRecord, PageSource } from './layout.ts';
import { TreeWalker } from './walker.ts';

/** Why the entries of a DBI are not in the order of its flags. */
export type Disorder = {
  /** What is out of order: the keys, or values of a key. */
  readonly what: 'keys' | 'values';
  /** The application has a comparison function of its own; or pages are damaged. As well as can be told. */
  readonly cause: 'own order' | 'damage';
};

/** So many entries may be misplaced by damage in a DBI of any size; in a large one, one in ten. */
const DAMAGED_FEW = 3;
const DAMAGED_PART = 0.1;
/** When so many keys in a row are below the one before them, that one was not the only misplaced one. */
const MAX_RUN = 32;

/**
 * Reads all of a DBI and tells why it is not in the order of its flags; undefined: it is.
 *
 * LMDB does not store which comparison function a DBI has. An own one leaves its traces everywhere, or the keys are in
 * another well-known order. Damage is in a few places. Slow (a copy of each key): for a DBI that is known to be wrong.
 * Errors: ENVIRONMENT_UNREADABLE.
 */
export function describeDisorder(source: PageSource, db: DbRecord): Disorder | undefined {
  const keyOrder = keyOrderOf(db.flags);
  const valueOrder = (db.flags & MDB_DUPSORT) === 0 ? undefined : dupComparator(db.flags);
  const keys = new TreeWalker(source, { order: keyOrder });
  const values = new TreeWalker(source, { parent: keys, order: valueOrder });
  const keyTally = new Tally(keyOrder);
  const valueTally = new Tally(valueOrder ?? compareBytes);
  keys.openTree(db.root);
  while (keys.next()) {
    keyTally.add(keys);
    if (valueOrder !== undefined && (keys.node.nodeFlags & F_DUPDATA) !== 0) {
      openDuplicates(values, keys.node, source.pageCount);
      valueTally.begin();
      while (values.next()) {
        valueTally.add(values);
      }
    }
  }
  if (keys.isOrdered && values.isOrdered) {
    return undefined;
  }
  return keys.isOrdered
    ? { what: 'values', cause: valueTally.cause }
    : { what: 'keys', cause: keyTally.cause };
}

/** The order of a list of entries: which known ones it is in, and how many entries are where they do not belong. */
class Tally {
  readonly #order: KeyOrder;
  #entries = 0;
  #misplaced = 0;
  #run = 0;
  /** The highest entry that fits, and the one before it. */
  #last: Buffer | undefined;
  #beforeLast: Buffer | undefined;
  #previous: Buffer | undefined;
  #others: readonly KeyOrder[] = OTHER_ORDERS;

  constructor(order: KeyOrder) {
    this.#order = order;
  }

  /** Another list of the same kind begins. */
  begin(): void {
    this.#last = undefined;
    this.#beforeLast = undefined;
    this.#previous = undefined;
    this.#run = 0;
  }

  add({ node }: TreeWalker): void {
    const entry = Buffer.from(node.buffer.subarray(node.keyStart, node.keyEnd));
    const previous = this.#previous;
    this.#previous = entry;
    this.#entries += 1;
    if (previous !== undefined) {
      this.#others = this.#others.filter((order) => isBelow(order, previous, entry));
    }
    if (isBelow(this.#order, this.#last, entry)) {
      this.#beforeLast = this.#last;
      this.#last = entry;
      this.#run = 0;
      return;
    }
    this.#misplaced += 1;
    this.#run += 1;
    const wasTooHigh = isBelow(this.#order, this.#beforeLast, entry);
    if (wasTooHigh || this.#run >= MAX_RUN) {
      this.#last = entry;
      this.#beforeLast = wasTooHigh ? this.#beforeLast : undefined;
      this.#run = 0;
    }
  }

  get cause(): Disorder['cause'] {
    // All of it in place: only what the branches say of it is wrong.
    if (this.#misplaced === 0) {
      return 'damage';
    }
    const isMany = this.#misplaced > Math.max(DAMAGED_FEW, this.#entries * DAMAGED_PART);
    return isMany || this.#others.length > 0 ? 'own order' : 'damage';
  }
}

function isBelow(order: KeyOrder, a: Buffer | undefined, b: Buffer): boolean {
  return a === undefined || order(a, 0, a.length, b, 0, b.length) < 0;
}

const byLength: KeyOrder = (a, aStart, aEnd, b, bStart, bEnd) =>
  aEnd - aStart - (bEnd - bStart) || compareBytes(a, aStart, aEnd, b, bStart, bEnd);

const descending: KeyOrder = (a, aStart, aEnd, b, bStart, bEnd) =>
  compareBytes(b, bStart, bEnd, a, aStart, aEnd);

const ignoringCase: KeyOrder = (a, aStart, aEnd, b, bStart, bEnd) => {
  const lower = (bytes: Uint8Array, start: number, end: number) =>
    Buffer.from(Buffer.from(bytes.subarray(start, end)).toString('latin1').toLowerCase(), 'latin1');
  return lower(a, aStart, aEnd).compare(lower(b, bStart, bEnd));
};

/** Little-endian integers with a sign: the highest bit of the last byte counts the other way. */
const signedIntegers: KeyOrder = (a, aStart, aEnd, b, bStart, bEnd) => {
  const isNegative = (bytes: Uint8Array, end: number) => (bytes[end - 1] ?? 0) >= 128;
  const [aIs, bIs] = [isNegative(a, aEnd), isNegative(b, bEnd)];
  return aIs === bIs ? compareIntegers(a, aStart, aEnd, b, bStart, bEnd) : aIs ? -1 : 1;
};

const OTHER_ORDERS: readonly KeyOrder[] = [
  compareBytes,
  compareReversed,
  compareIntegers,
  signedIntegers,
  byLength,
  descending,
  ignoringCase,
];
