import fc from 'fast-check';
import { decodePair, encodePair } from '../../protocol/dupsort-hack.ts';
import { fixtureJson } from '../support/fixtures.ts';

const bytes = (minLength: number, maxLength: number) =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));

test('a pair is its key, four zero bytes, its value and the length of the key', () => {
  expect(encodePair(Buffer.from('ab'), Buffer.from('xyz'))?.toString('hex')).toBe(
    '61620000000078797a02',
  );
});

test('of a long value only so much goes in that 511 bytes are reached', () => {
  const encoded = encodePair(Buffer.from('key'), Buffer.alloc(600, 'v'));
  expect(encoded).toHaveLength(511);
  expect(decodePair(encoded!)?.value).toHaveLength(503);
});

test('a key that is empty or above 255 bytes has no pair', () => {
  expect(encodePair(Buffer.alloc(0), Buffer.from('v'))).toBeUndefined();
  expect(encodePair(Buffer.alloc(256, 'k'), Buffer.from('v'))).toBeUndefined();
  expect(encodePair(Buffer.alloc(255, 'k'), Buffer.from('v'))).toHaveLength(261);
});

test('decoding gives key and value back, where the value fits', () => {
  fc.assert(
    fc.property(bytes(1, 255), bytes(0, 251), (key, value) => {
      const encoded = encodePair(key, value);
      expect(decodePair(encoded!)).toEqual({ key, value });
    }),
  );
});

test('pairs that differ have keys that differ, where the values fit', () => {
  const short = fc.tuple(bytes(1, 6), bytes(0, 6));
  fc.assert(
    fc.property(short, short, ([key, value], [otherKey, otherValue]) => {
      const same = key.equals(otherKey) && value.equals(otherValue);
      expect(encodePair(key, value)?.equals(encodePair(otherKey, otherValue)!)).toBe(same);
    }),
  );
});

test('any other bytes are refused, not misread', () => {
  for (const hex of ['', '00', '0000000001', '610000000002', '61000001002201', '00000000000000']) {
    expect(decodePair(Buffer.from(hex, 'hex'))).toBeUndefined();
  }
  fc.assert(
    fc.property(bytes(0, 600), (encoded) => {
      const pair = decodePair(encoded);
      if (pair === undefined) {
        return;
      }
      expect(encodePair(pair.key, pair.value)).toEqual(encoded);
    }),
  );
});

test('all keys that upstream recorded are made byte for byte', () => {
  type Recorded = { dbis: { transform: string; entries: Record<string, string>[] }[] };
  const { steps } = fixtureJson('d-shadow-dupsort', 'expected.json') as { steps: Recorded[] };
  let pairs = 0;
  for (const { transform, entries } of steps.flatMap(({ dbis }) => dbis)) {
    if (transform === '') {
      continue;
    }
    for (const { key, value, flags } of entries) {
      if (Number(flags) === 1) {
        continue;
      }
      const recorded = Buffer.from(key ?? '', 'hex');
      const pair = decodePair(recorded);
      expect(encodePair(pair!.key, Buffer.from(value ?? '', 'hex'))).toEqual(recorded);
      pairs += 1;
    }
  }
  expect(pairs).toBeGreaterThan(20);
});
