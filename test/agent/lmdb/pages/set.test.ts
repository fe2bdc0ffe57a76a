import fc from 'fast-check';

import { PageSet } from '../../../../agent/lmdb/pages/set.ts';

// Small numbers meet often; large ones are in chunks far apart.
const page = fc.oneof(
  fc.integer({ min: 0, max: 200 }),
  fc.constantFrom(4095, 4096, 100_000, 10_000_000),
);

function setOf(pages: readonly number[]): PageSet {
  const set = new PageSet();
  for (const number of pages) {
    set.add(number);
  }
  return set;
}

test('adding and deleting give what a Set gives', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), page)), (steps) => {
      const set = new PageSet();
      const plain = new Set<number>();
      for (const [isAdd, number] of steps) {
        const wasThere = plain.has(number);
        expect(isAdd ? set.add(number) : set.delete(number)).toBe(isAdd ? !wasThere : wasThere);
        if (isAdd) {
          plain.add(number);
        } else {
          plain.delete(number);
        }
        expect(set.has(number)).toBe(isAdd);
        expect(set.size).toBe(plain.size);
      }
      expect(set.equals(setOf([...plain]))).toBe(true);
    }),
    { numRuns: 50 },
  );
});

test('adding and deleting many at once is the same as one by one', () => {
  fc.assert(
    fc.property(fc.array(page), fc.array(page), (a, b) => {
      const union = setOf(a);
      union.addAll(setOf(b));
      expect(union.equals(setOf([...a, ...b]))).toBe(true);
      expect(union.size).toBe(new Set([...a, ...b]).size);
      const difference = setOf(a);
      difference.deleteAll(setOf(b));
      expect(difference.equals(setOf(a.filter((number) => !b.includes(number))))).toBe(true);
    }),
    { numRuns: 50 },
  );
});

test('sets of one size with other pages are not equal', () => {
  expect(setOf([1, 2]).equals(setOf([1, 3]))).toBe(false);
  expect(setOf([1]).equals(setOf([1, 3]))).toBe(false);
  expect(setOf([1]).equals(setOf([9000]))).toBe(false);
});

test('the highest page number does not meet the sign bit', () => {
  const set = setOf([2 ** 31, 2 ** 32 - 1]);
  expect([set.has(2 ** 31), set.has(2 ** 32 - 1), set.has(0), set.size]).toEqual([
    true,
    true,
    false,
    2,
  ]);
});
