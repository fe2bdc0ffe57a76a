import fc from 'fast-check';
import type { StreamId } from '../../protocol/object-name.ts';
import {
  EMPTY_VECTOR,
  advanceVector,
  covers,
  decodeVectorJson,
  encodeVectorJson,
  isCoveredBy,
  joinVectors,
  type VersionVector,
} from '../../protocol/version-vector.ts';
import { streamId, vector } from '../support/arbitraries.ts';
import { errorCodeOf } from '../support/fixtures.ts';

const vectorsEqual = (a: VersionVector, b: VersionVector): boolean =>
  isCoveredBy(a, b) && isCoveredBy(b, a);

const seq = fc.bigInt({ min: 1n, max: 6n });

test('joining is commutative, associative and idempotent, and covers both sides', () => {
  fc.assert(
    fc.property(vector, vector, vector, (a, b, c) => {
      const joined = joinVectors(a, b);
      expect(vectorsEqual(joined, joinVectors(b, a))).toBe(true);
      expect(vectorsEqual(joinVectors(joined, c), joinVectors(a, joinVectors(b, c)))).toBe(true);
      expect(vectorsEqual(joinVectors(a, a), a)).toBe(true);
      expect(isCoveredBy(a, joined) && isCoveredBy(b, joined)).toBe(true);
    }),
  );
});

test('a joined state covers exactly what one of the two covers', () => {
  const position = fc.record({
    stream: fc.oneof(streamId, fc.constantFrom('a.x1', 'b.X') as fc.Arbitrary<StreamId>),
    seq,
  });
  fc.assert(
    fc.property(vector, vector, position, (a, b, p) => {
      expect(covers(joinVectors(a, b), p)).toBe(covers(a, p) || covers(b, p));
    }),
  );
});

test('advancing covers the object, and nothing else above before', () => {
  fc.assert(
    fc.property(vector, streamId, seq, (v, stream, n) => {
      const advanced = advanceVector(v, { stream, seq: n });
      expect(vectorsEqual(advanced, joinVectors(v, new Map([[stream, n]])))).toBe(true);
    }),
  );
});

test('a stream that is not in a vector counts as 0', () => {
  const zero = new Map([['a.b' as StreamId, 0n]]);
  expect(vectorsEqual(zero, EMPTY_VECTOR)).toBe(true);
  expect(covers(EMPTY_VECTOR, { stream: 'a.b' as StreamId, seq: 1n })).toBe(false);
});

test('a vector survives JSON, numbers of 64 bits included, and equal vectors give equal text', () => {
  fc.assert(
    fc.property(vector, (v) => {
      const text = JSON.stringify(encodeVectorJson(v));
      expect(decodeVectorJson(JSON.parse(text))).toEqual(v);
      expect(JSON.stringify(encodeVectorJson(new Map([...v].reverse())))).toBe(text);
    }),
  );
});

test('a stream named like a property of every object is data', () => {
  const v = new Map([['__proto__.abc' as StreamId, 1n]]);
  expect(decodeVectorJson(JSON.parse(JSON.stringify(encodeVectorJson(v))))).toEqual(v);
});

test.each([
  null,
  [],
  'a.b',
  { 'a.b': 1 },
  { 'a.b': '01' },
  { 'a.b': '-1' },
  { 'a.b': '1.5' },
  { 'a.b': '18446744073709551616' },
  { ab: '1' },
  { 'a.B': '1' },
  { 'a.b.c': '1' },
  { 'a/b.c': '1' },
])('%j is no vector', async (json) => {
  expect(await errorCodeOf(() => decodeVectorJson(json))).toBe('MESSAGE_INVALID');
});
