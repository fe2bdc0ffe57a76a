import { parseSmaps } from '../../../agent/monitor/smaps.ts';
import {
  formatAge,
  formatByteString,
  formatBytes,
  formatGoTime,
} from '../../../agent/log/output-format.ts';

const NOW_NS = 1_800_000_000_000_000_000n;
const header = Buffer.from('17979cfe362a0000000000000000000100000000000000007676', 'hex');

describe('byte strings', () => {
  test.each([
    ['longer printable text stands alone', Buffer.from('a longer text'), 'a longer text'],
    ['8 bytes get their hex dump', Buffer.from('12345678'), '12345678 [31 32 33 34 35 36 37 38]'],
    ['9 bytes do not', Buffer.from('123456789'), '123456789'],
    [
      'an unprintable byte shows the hex dump',
      Buffer.from('com\0example'),
      'com.example [63 6f 6d 00 65 78 61 6d 70 6c 65]',
    ],
    ['nothing', Buffer.alloc(0), ' []'],
    ['beyond ASCII', Buffer.from('é'), '.. [c3 a9]'],
  ])('%s', (_what, bytes, expected) => {
    expect(formatByteString(bytes, NOW_NS)).toBe(expected);
  });

  test('a value header shows its time', () => {
    expect(formatByteString(header, NOW_NS)).toBe(
      '....6*..................vv [17 97 9c fe 36 2a 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00 76 76] (2023-11-14T22:13:20Z)',
    );
  });

  test.each([
    [1_640_995_199_999_999_999n, false],
    [1_640_995_200_000_000_000n, true],
    [NOW_NS + 2_592_000_000_000_000n, true],
    [NOW_NS + 2_592_000_000_000_001n, false],
  ])('time %i is taken for one: %s', (timeNs, shown) => {
    const bytes = Buffer.alloc(24);
    bytes.writeBigUInt64BE(timeNs);
    expect(formatByteString(bytes, NOW_NS).endsWith('Z)')).toBe(shown);
  });
});

test.each([
  [0, '0 B'],
  [62, '62 B'],
  [1024, '1024 B'],
  [1025, '1.0 KB'],
  [4096, '4.0 KB'],
  [10 * 1024 ** 2, '10.0 MB'],
  [1024 ** 3, '1024.0 MB'],
  [1.5 * 1024 ** 4, '1.5 TB'],
])('size %i is %s', (bytes, expected) => {
  expect(formatBytes(bytes)).toBe(expected);
});

test.each([
  [1_700_000_000_000_000_000n, '2023-11-14 22:13:20 +0000 UTC'],
  [1_700_000_000_120_000_000n, '2023-11-14 22:13:20.12 +0000 UTC'],
  [0n, '1970-01-01 00:00:00 +0000 UTC'],
  [18_446_744_073_709_551_615n, '2554-07-21 23:34:33.709551615 +0000 UTC'],
])('time %i is %s', (timeNs, expected) => {
  expect(formatGoTime(timeNs)).toBe(expected);
});

test.each([
  [95_447_000_000_000n, '26h30m47s'],
  [59_500_000_000n, '1m0s'],
  [1_400_000_000n, '1s'],
  [-61_000_000_000n, '-1m1s'],
])('%i ns ago is %s', (ageNs, expected) => {
  expect(formatAge(NOW_NS - ageNs, NOW_NS)).toBe(expected);
});

test('memory maps of a file are summed, those of others left out', () => {
  const map = (path: string, rss: number) =>
    `7f00-7f01 r--s 00000000 fe:01 123  ${path}\nSize:   64 kB\nRss:  ${rss} kB\nShared_Clean:  1 kB\nVmFlags: rd\n`;
  const text = `${map('/db/x.mdb', 4)}${map('/lib/libc.so', 9)}${map('/db/x.mdb', 8)}${map('/dir/data.mdb', 1)}`;
  const sums = parseSmaps(text, ['/db/x.mdb', '/dir']);
  expect(sums.get('/db/x.mdb')).toEqual(
    new Map([
      ['size', 131_072],
      ['rss', 12_288],
      ['shared_clean', 2048],
    ]),
  );
  expect(sums.get('/dir')?.get('rss')).toBe(1024);
  expect(sums.size).toBe(2);
});
