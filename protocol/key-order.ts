/** Persistent LMDB flags that decide the order of keys. Source: `lmdb.h`. */
const REVERSE_KEY = 0x02;
const INTEGER_KEY = 0x08;

/** Sizes of C's integer types. Source: `mdb_cmp_cint`, `mdb_cmp_int`, `mdb_cmp_long`. */
const INTEGER_KEY_BYTES = new Set([2, 4, 8]);

/** True if a DBI of these flags can have a key of so many bytes. */
export function fitsKeyFlags(flags: number, keyBytes: number): boolean {
  return (flags & INTEGER_KEY) === 0 || INTEGER_KEY_BYTES.has(keyBytes);
}

/** Below, at or above zero as the bytes of `a` sort before, with or after those of `b`. */
export type KeyOrder = (
  a: Uint8Array,
  aStart: number,
  aEnd: number,
  b: Uint8Array,
  bStart: number,
  bEnd: number,
) => number;

/**
 * By byte, the shorter first where one begins with the other. A byte loop: for keys of usual lengths a ranged
 * `Buffer.compare` costs ten times as much (350 ns). Source: `mdb_cmp_memn`.
 */
export const compareBytes: KeyOrder = (a, aStart, aEnd, b, bStart, bEnd) => {
  const aLength = aEnd - aStart;
  const bLength = bEnd - bStart;
  const end = aStart + (aLength < bLength ? aLength : bLength);
  for (let i = aStart, j = bStart; i < end; i += 1, j += 1) {
    const order = a[i]! - b[j]!;
    if (order !== 0) {
      return order;
    }
  }
  return aLength - bLength;
};

/** As {@link compareBytes}, from the last byte to the first. Source: `mdb_cmp_memnr`. */
export const compareReversed: KeyOrder = (a, aStart, aEnd, b, bStart, bEnd) => {
  const aLength = aEnd - aStart;
  const bLength = bEnd - bStart;
  const end = aEnd - (aLength < bLength ? aLength : bLength);
  for (let i = aEnd - 1, j = bEnd - 1; i >= end; i -= 1, j -= 1) {
    const order = a[i]! - b[j]!;
    if (order !== 0) {
      return order;
    }
  }
  return aLength - bLength;
};

/**
 * As unsigned little-endian integers, of any length. All keys of such a DBI should have one length; LMDB does not
 * check that, and its own order is then undefined (`mdb_cmp_cint` reads past the shorter key). Here missing bytes
 * are zeros and the shorter one is first, so that it is an order in any case. Source: `mdb_cmp_int`, `_long`, `_cint`.
 */
export const compareIntegers: KeyOrder = (a, aStart, aEnd, b, bStart, bEnd) => {
  const aLength = aEnd - aStart;
  const bLength = bEnd - bStart;
  for (let i = (aLength > bLength ? aLength : bLength) - 1; i >= 0; i -= 1) {
    const order = (i < aLength ? a[aStart + i]! : 0) - (i < bLength ? b[bStart + i]! : 0);
    if (order !== 0) {
      return order;
    }
  }
  return aLength - bLength;
};

/** The order of keys in a DBI with these MDB_* flags, on a little-endian host. Source: `mdb_default_cmp`. */
export function keyOrderOf(flags: number): KeyOrder {
  if ((flags & REVERSE_KEY) !== 0) {
    return compareReversed;
  }
  return (flags & INTEGER_KEY) !== 0 ? compareIntegers : compareBytes;
}
