import fc from 'fast-check';
import { TxnRanges } from '../../../agent/lmdb/txn-ranges.ts';

test('ranges hold exactly the ids between their ends', () => {
  const lengths = fc.array(fc.record({ gap: fc.integer({ min: 1, max: 5 }), length: fc.nat(5) }));
  fc.assert(
    fc.property(lengths, (parts) => {
      const ids = new Set<number>();
      const ranges = [];
      let at = 0;
      for (const { gap, length } of parts) {
        const first = at + gap;
        at = first + length;
        ranges.push({ first, last: at });
        for (let id = first; id <= at; id += 1) {
          ids.add(id);
        }
      }
      const merged = new TxnRanges(ranges.toReversed());
      for (let id = 0; id <= at + 2; id += 1) {
        expect(merged.has(id)).toBe(ids.has(id));
      }
      expect(merged.newest?.last).toBe(parts.length === 0 ? undefined : at);
    }),
    { numRuns: 50 },
  );
});
