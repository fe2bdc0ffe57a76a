import fc from 'fast-check';

import { dupComparator } from '../../../../agent/lmdb/pages/comparator.ts';
import {
  compareBytes,
  compareIntegers,
  compareReversed,
  keyOrderOf,
  type KeyOrder,
} from '../../../../protocol/key-order.ts';
import {
  MDB_DUPFIXED,
  MDB_DUPSORT,
  MDB_INTEGERDUP,
  MDB_INTEGERKEY,
  MDB_REVERSEDUP,
  MDB_REVERSEKEY,
} from '../../../../agent/lmdb/pages/layout.ts';

const bytes = fc.uint8Array({ maxLength: 12 });

/** Compares views in the middle of larger buffers, so that a wrong offset shows. */
function compare(comparator: KeyOrder, a: Uint8Array, b: Uint8Array): number {
  const left = Buffer.concat([Buffer.from([9]), a, Buffer.from([200])]);
  const right = Buffer.concat([Buffer.from([1, 2, 3]), b, Buffer.from([0])]);
  return Math.sign(comparator(left, 1, 1 + a.length, right, 3, 3 + b.length));
}

test('bytes are compared as memcmp does, the shorter first', () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      expect(compare(compareBytes, a, b)).toBe(Buffer.compare(a, b));
    }),
  );
});

test('the reversed order is that of the reversed bytes', () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      const [left, right] = [a.toReversed(), b.toReversed()];
      expect(compare(compareReversed, a, b)).toBe(Buffer.compare(left, right));
    }),
  );
});

test('integers are compared as unsigned little-endian numbers', () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 2n ** 64n - 1n), fc.bigInt(0n, 2n ** 64n - 1n), (a, b) => {
      const [left, right] = [Buffer.alloc(8), Buffer.alloc(8)];
      left.writeBigUInt64LE(a);
      right.writeBigUInt64LE(b);
      expect(compare(compareIntegers, left, right)).toBe(a < b ? -1 : a > b ? 1 : 0);
    }),
  );
});

test.each([
  ['bytes', compareBytes],
  ['reversed', compareReversed],
  ['integers', compareIntegers],
])('%s: a strict order of all keys, of unequal lengths too', (_name, comparator) => {
  fc.assert(
    fc.property(bytes, bytes, bytes, (a, b, c) => {
      expect(compare(comparator, a, b)).toBe(-compare(comparator, b, a) || 0);
      expect(compare(comparator, a, b) === 0).toBe(Buffer.compare(a, b) === 0);
      if (compare(comparator, a, b) < 0 && compare(comparator, b, c) < 0) {
        expect(compare(comparator, a, c)).toBe(-1);
      }
    }),
  );
});

test('the flags of a DBI choose the order of its keys and values', () => {
  expect(keyOrderOf(0)).toBe(compareBytes);
  expect(keyOrderOf(MDB_INTEGERKEY)).toBe(compareIntegers);
  expect(keyOrderOf(MDB_REVERSEKEY)).toBe(compareReversed);
  expect(dupComparator(MDB_DUPSORT)).toBe(compareBytes);
  expect(dupComparator(MDB_DUPSORT | MDB_DUPFIXED)).toBe(compareBytes);
  expect(dupComparator(MDB_DUPSORT | MDB_REVERSEDUP)).toBe(compareReversed);
  expect(dupComparator(MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP)).toBe(compareIntegers);
});
