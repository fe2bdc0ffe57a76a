import {
  compareBytes,
  compareIntegers,
  compareReversed,
  type KeyOrder,
} from '../../../protocol/key-order.ts';
import { MDB_DUPSORT, MDB_INTEGERDUP, MDB_REVERSEDUP } from './layout.ts';

/** The order of the values of one key in a DUPSORT DBI with these MDB_* flags. Source: `mdb_default_cmp`. */
export function dupComparator(flags: number): KeyOrder {
  if ((flags & MDB_DUPSORT) === 0) {
    return compareBytes;
  }
  if ((flags & MDB_INTEGERDUP) !== 0) {
    return compareIntegers;
  }
  return (flags & MDB_REVERSEDUP) !== 0 ? compareReversed : compareBytes;
}
