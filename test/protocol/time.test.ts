import fc from 'fast-check';
import {
  formatGoDuration,
  formatNameTime,
  parseGoDuration,
  parseNameTime,
} from '../../protocol/time.ts';
import { timestampNs } from '../support/arbitraries.ts';
import { errorCodeOf } from '../support/fixtures.ts';

test.each([
  ['300ms', 300],
  ['1m30s', 90_000],
  ['4h', 14_400_000],
  ['1.5h', 5_400_000],
  ['.5s', 500],
  ['1.s', 1000],
  ['2us', 0.002],
  ['2µs', 0.002],
  ['2μs', 0.002],
  ['7ns', 0.000007],
  ['-1m', -60_000],
  ['+1m', 60_000],
  ['0', 0],
  ['1000000', 1],
  [' 5s ', 5000],
  ['168h', 604_800_000],
])('the duration %s is %d ms', (text, ms) => {
  expect(parseGoDuration(text)).toBeCloseTo(ms, 9);
});

test.each(['', 's', '1', '1 s', '1d', '1s1', 'abc', '1e3s', '.s', '--1s', '9999999999h'])(
  'only whole nanoseconds go without a unit: %j',
  async (text) => {
    const code = await errorCodeOf(() => parseGoDuration(text));
    expect(code).toBe(text === '1' ? 'done' : 'CONFIG_INVALID');
  },
);

test.each([
  [0, '0s'],
  [90_000, '1m30s'],
  [14_400_000, '4h0m0s'],
  [300, '300ms'],
  [1500, '1.5s'],
  [0.0015, '1.5µs'],
  [0.000007, '7ns'],
  [-60_000, '-1m0s'],
  [3_661_001, '1h1m1.001s'],
])('%d ms print as %s', (ms, text) => {
  expect(formatGoDuration(ms)).toBe(text);
});

test('a duration that was printed reads the same', () => {
  fc.assert(
    fc.property(fc.integer({ min: -1_000_000_000, max: 1_000_000_000 }), (us) => {
      expect(parseGoDuration(formatGoDuration(us / 1000))).toBeCloseTo(us / 1000, 6);
    }),
  );
});

test('a time survives its form in names, to the nanosecond', () => {
  expect(formatNameTime(1706745599012345678n)).toBe('20240131-235959-012345678');
  fc.assert(
    fc.property(timestampNs, (ns) => {
      expect(parseNameTime(formatNameTime(ns))).toBe(ns);
    }),
  );
});
