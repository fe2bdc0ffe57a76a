import fc from 'fast-check';
import {
  flagsAt,
  headerLengthAt,
  isDeletedAt,
  isValidValue,
  parseValueHeader,
  setTimestampNs,
  setTxnId,
  timeHiAt,
  timeLoAt,
  timestampNsAt,
  txnIdAt,
  writeValueHeader,
} from '../../protocol/value-header.ts';
import { timestampNs } from '../support/arbitraries.ts';
import { errorCodeOf } from '../support/fixtures.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

test.each([
  ['live', 0, '17979cfe362a0000 0000000000000001 00 00 00000000 0000'],
  ['tombstone', 1, '17979cfe362a0000 0000000000000001 00 01 00000000 0000'],
])('the header of a %s entry has the bytes of the specification', (_name, flags, bytes) => {
  const target = Buffer.alloc(24, 0xff);
  const length = writeValueHeader(target, 0, {
    timeHi: 0x17979cfe,
    timeLo: 0x362a0000,
    txnId: 1,
    flags,
  });
  expect([length, target]).toEqual([24, hex(bytes)]);
});

test('parsing gives back what was written, at any offset', () => {
  const parts = fc.record({
    timestampNs,
    txnId: fc.maxSafeNat(),
    flags: fc.nat(255),
    paddingBlock: fc.boolean(),
  });
  fc.assert(
    fc.property(parts, fc.nat(9), (h, offset) => {
      const target = Buffer.alloc(60, 0xff);
      const length = writeValueHeader(target, offset, {
        ...h,
        timeHi: Number(h.timestampNs >> 32n),
        timeLo: Number(h.timestampNs & 0xffff_ffffn),
      });
      expect(length).toBe(h.paddingBlock ? 32 : 24);
      expect(headerLengthAt(target, offset, 60)).toBe(length);
      expect(parseValueHeader(target.subarray(offset))).toEqual({
        timestampNs: h.timestampNs,
        txnId: BigInt(h.txnId),
        flags: h.flags & 1,
        headerLength: length,
      });
      // Nothing beyond the header is touched.
      expect(target.subarray(offset + length).every((byte) => byte === 0xff)).toBe(true);
    }),
  );
});

test('extension blocks count, unknown flags and reserved bytes do not', () => {
  const value = hex(
    '17979cfe3d85cd1a 0000000000000003 00 82 12345678 0003 0000000000000001 0000000000000002 0000000000000003 74',
  );
  expect(parseValueHeader(value)).toEqual({
    timestampNs: 1700000000123456794n,
    txnId: 3n,
    flags: 0x82,
    headerLength: 48,
  });
});

test.each([
  ['nothing', ''],
  ['23 bytes', '00'.repeat(23)],
  ['version 1', '17979cfe362a0000 0000000000000001 01 00 00000000 0000 76'],
  [
    'more blocks than bytes',
    '17979cfe362a0000 0000000000000001 00 00 00000000 0001 00000000000000',
  ],
  ['65535 blocks', '17979cfe362a0000 0000000000000001 00 00 00000000 ffff'],
])('%s is no value header', async (_name, bytes) => {
  const value = hex(bytes);
  expect(await errorCodeOf(() => parseValueHeader(value))).toBe('VALUE_HEADER_INVALID');
  // What lies behind the value in its buffer does not help.
  const longer = Buffer.concat([value, Buffer.alloc(600_000)]);
  expect(await errorCodeOf(() => headerLengthAt(longer, 0, value.length))).toBe(
    'VALUE_HEADER_INVALID',
  );
});

test('reading field by field agrees with parsing the whole header', () => {
  const parts = fc.record({
    timestampNs,
    txnId: fc.maxSafeNat(),
    flags: fc.nat(1),
    paddingBlock: fc.boolean(),
  });
  fc.assert(
    fc.property(parts, fc.nat(9), (h, start) => {
      const target = Buffer.alloc(60, 0xff);
      const length = writeValueHeader(target, start, { ...h, timeHi: 0, timeLo: 0, txnId: 0 });
      const value = target.subarray(start, start + length);
      setTimestampNs(value, h.timestampNs);
      setTxnId(value, h.txnId);
      const parsed = parseValueHeader(value);
      expect(isValidValue(target, start, start + length)).toBe(true);
      expect(timestampNsAt(target, start)).toBe(parsed.timestampNs);
      expect(timeHiAt(target, start)).toBe(Number(parsed.timestampNs >> 32n));
      expect(timeLoAt(target, start)).toBe(Number(parsed.timestampNs & 0xffff_ffffn));
      expect(txnIdAt(target, start)).toBe(h.txnId);
      expect(BigInt(h.txnId)).toBe(parsed.txnId);
      expect(flagsAt(target, start)).toBe(parsed.flags);
      expect(isDeletedAt(target, start)).toBe(h.flags === 1);
    }),
  );
});

test('a value is valid exactly where its header can be parsed', () => {
  const bytes = fc.uint8Array({ maxLength: 60 }).map((value) => {
    // Few random bytes have version 0 and a small number of blocks.
    value.fill(0, 16, 23);
    return value;
  });
  fc.assert(
    fc.property(bytes, (value) => {
      let isParsed = true;
      try {
        parseValueHeader(value);
      } catch {
        isParsed = false;
      }
      expect(isValidValue(value, 0, value.length)).toBe(isParsed);
    }),
  );
});
