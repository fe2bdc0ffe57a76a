import fc from 'fast-check';
import { VectorTracker } from '../../../agent/engine/vector-tracker.ts';
import { streamOf } from '../../../protocol/object-name.ts';

const a = streamOf('a', 'run1');
const b = streamOf('b', 'run2');

test('a delta above a gap does not move the vector until the gap is closed', () => {
  const tracker = new VectorTracker(new Map());
  tracker.absorb([{ stream: a, seq: 1n }]);
  tracker.absorb([{ stream: a, seq: 3n }]);
  expect(tracker.vector.get(a)).toBe(1n);
  expect(tracker.hasGapBelow({ stream: a, seq: 4n })).toBe(true);
  tracker.absorb([{ stream: a, seq: 2n }]);
  expect(tracker.vector.get(a)).toBe(3n);
});

test('an object merged above a gap is not wanted again', () => {
  const tracker = new VectorTracker(new Map());
  tracker.absorb([{ stream: a, seq: 5n }]);
  expect(tracker.has({ stream: a, seq: 5n })).toBe(true);
  expect(tracker.has({ stream: a, seq: 4n })).toBe(false);
  expect(tracker.vector.has(a)).toBe(false);
});

test('a full state joins its vector and closes gaps of other streams', () => {
  const tracker = new VectorTracker(new Map());
  tracker.absorb([{ stream: b, seq: 3n }]);
  tracker.absorb([
    {
      stream: a,
      seq: 7n,
      vector: new Map([
        [a, 7n],
        [b, 2n],
      ]),
    },
  ]);
  expect([...tracker.vector]).toEqual([
    [a, 7n],
    [b, 3n],
  ]);
});

test('a preview changes nothing', () => {
  const tracker = new VectorTracker(new Map([[a, 1n]]));
  expect(tracker.preview([{ stream: a, seq: 2n }]).vector.get(a)).toBe(2n);
  expect(tracker.vector.get(a)).toBe(1n);
  expect(tracker.has({ stream: a, seq: 2n })).toBe(false);
});

test('after forgetting, everything is wanted again', () => {
  const tracker = new VectorTracker(new Map([[a, 4n]]));
  tracker.absorb([{ stream: a, seq: 6n }]);
  tracker.forget();
  expect(tracker.has({ stream: a, seq: 1n })).toBe(false);
  expect(tracker.has({ stream: a, seq: 6n })).toBe(false);
});

test('deltas in any order, repeated, end at the same vector: the longest run from 1', () => {
  const seqs = fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 30 });
  fc.assert(
    fc.property(seqs, (numbers) => {
      const tracker = new VectorTracker(new Map());
      for (const number of numbers) {
        tracker.absorb([{ stream: a, seq: BigInt(number) }]);
      }
      let reached = 0n;
      while (numbers.includes(Number(reached + 1n))) {
        reached += 1n;
      }
      expect(tracker.vector.get(a) ?? 0n).toBe(reached);
      for (const number of numbers) {
        expect(tracker.has({ stream: a, seq: BigInt(number) })).toBe(true);
      }
    }),
  );
});

test('what is sent to the LMDB is what has changed, however long the vector is', () => {
  const many = Array.from({ length: 1000 }, (_, i) => [streamOf('many', `run${i}`), 1n] as const);
  const tracker = new VectorTracker(new Map(many));
  expect(tracker.change).toMatchObject({ vector: new Map(), dropped: [] });
  const change = tracker.preview([{ stream: a, seq: 1n }]);
  expect(change.vector).toEqual(new Map([[a, 1n]]));
  tracker.absorb([{ stream: a, seq: 1n }]);
  expect(tracker.change.vector).toEqual(new Map([[a, 1n]]));
  tracker.noteSent(change);
  expect(tracker.change.vector.size).toBe(0);
  tracker.prune([a, b]);
  expect(tracker.change.dropped).toEqual([a]);
});

test('what rose again since it was sent is sent again', () => {
  const tracker = new VectorTracker(new Map());
  tracker.acknowledgeOwn(a, 1n);
  const { change, revision } = tracker;
  tracker.acknowledgeOwn(a, 2n);
  tracker.noteSent(change);
  expect(tracker.change.vector).toEqual(new Map([[a, 2n]]));
  expect(tracker.revision).not.toBe(revision);
});

test('a change made before the LMDB emptied its vector is not taken for sent', () => {
  const tracker = new VectorTracker(new Map());
  tracker.acknowledgeOwn(a, 1n);
  const { change } = tracker;
  tracker.noteEmptied();
  tracker.acknowledgeOwn(a, 1n);
  tracker.noteSent(change);
  expect(tracker.change).toMatchObject({ vector: new Map([[a, 1n]]), emptied: 1 });
});
