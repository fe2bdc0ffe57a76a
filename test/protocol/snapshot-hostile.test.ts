import fc from 'fast-check';
import { SnapshotReader, type SnapshotSink } from '../../protocol/snapshot-reader.ts';
import { EMPTY_META } from '../../protocol/snapshot.ts';
import { encodeSnapshot, entry, plainSnapshot } from '../support/arbitraries.ts';
import { CollectingSink, errorCodeOf, fixtureMessage, parseBytes } from '../support/fixtures.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const message = fixtureMessage(
  'f-old-formats/snapshots/main__odd-two-gzip-members__20231114-221320-123456989__GX.pb.gz',
);
const codeOf = (bytes: Uint8Array, chunkBytes?: number): Promise<string> =>
  errorCodeOf(() => parseBytes(bytes, chunkBytes));
const TYPED = ['done', 'SNAPSHOT_CORRUPT', 'SNAPSHOT_INCOMPATIBLE', 'SNAPSHOT_REJECTED'];

test('a snapshot cut off at any byte is refused, unless a whole shorter one is left', async () => {
  const whole = encodeSnapshot({
    meta: { ...EMPTY_META, instance: 'a', run: 'r', seq: 3n, vector: new Map() },
    dbis: [
      { name: 'd', flags: 8, transform: '', entries: fc.sample(entry, { numRuns: 20, seed: 1 }) },
      { name: 'e', flags: 0, transform: 't', entries: [] },
    ],
  });
  const complete = boundaries(whole);
  const wrong: unknown[] = [];
  for (let length = 0; length < whole.length; length++) {
    const code = await codeOf(whole.subarray(0, length));
    if (code !== (complete.has(length) ? 'done' : 'SNAPSHOT_CORRUPT')) {
      wrong.push([length, code]);
    }
  }
  expect(wrong).toEqual([]);
});

test('a streamed DBI cut off at any byte is refused', async () => {
  const start = [...boundaries(message)].at(-2) ?? 0;
  for (let length = start + 1; length < message.length; length++) {
    const reader = new SnapshotReader(new CollectingSink(), { heldDbiBytes: -1 });
    const code = await errorCodeOf(() => {
      reader.push(message.subarray(0, length));
      reader.end();
    });
    expect(code).toBe('SNAPSHOT_CORRUPT');
  }
});

test('damaged bytes end in a typed error or in a valid snapshot, held or streamed', async () => {
  const damage = fc.array(fc.tuple(fc.nat(10_000), fc.nat(255)), { minLength: 1, maxLength: 6 });
  const sizes = fc.record({
    held: fc.constantFrom(-1, 1 << 20),
    chunk: fc.integer({ min: 1, max: 400 }),
  });
  await fc.assert(
    fc.asyncProperty(plainSnapshot, damage, sizes, async (snapshot, changes, { held, chunk }) => {
      const bytes = encodeSnapshot(snapshot, 200);
      for (const [at, value] of changes) {
        bytes[at % bytes.length] = value;
      }
      const reader = new SnapshotReader(new CollectingSink(), { heldDbiBytes: held });
      const code = await errorCodeOf(() => {
        for (let at = 0; at < bytes.length; at += chunk) {
          reader.push(bytes.subarray(at, at + chunk));
        }
        reader.end();
      });
      expect(TYPED).toContain(code);
    }),
    { numRuns: 1000 },
  );
});

test('any bytes end in a typed error or in a valid snapshot', async () => {
  const head = fc.constantFrom('', '0803', '08031a0a', '080312', '08031a0a0a016412050a01');
  await fc.assert(
    fc.asyncProperty(head, fc.uint8Array({ maxLength: 60 }), async (start, rest) => {
      const bytes = Buffer.concat([hex(start), rest]);
      const whole = await codeOf(bytes);
      expect(TYPED).toContain(whole);
      // How the bytes are cut into chunks changes nothing.
      expect(await codeOf(bytes, 1)).toBe(whole);
    }),
    { numRuns: 2000 },
  );
});

test.each([
  ['a tag of 0', '00'],
  ['a field number of 0', '02 00'],
  ['a group', '0b'],
  ['wire type 7', '7f'],
  ['a varint of 11 bytes', '08 ff ff ff ff ff ff ff ff ff ff 01'],
  ['a version above 32 bits', '08 80 80 80 80 10'],
  ['a version that is a text', '0a 01 33'],
  ['Meta as a number', '10 01'],
  ['a Meta that claims 2^60 bytes', '12 80 80 80 80 80 80 80 80 10'],
  ['a Meta that claims 17 MiB', '12 80 80 c0 08'],
  ['a Meta whose text runs past its end', '12 02 0a 05'],
  ['a Meta whose instance is a number', '12 02 10 01'],
  ['a vector with a stream that is none', '12 0a d2 3e 07 0a 05 0a 03 61 62 63'],
  ['a DBI without a name', '08 03 1a 00'],
  ['a DBI with a NUL in its name', '08 03 1a 05 0a 03 61 00 62'],
  ['a DBI with a name of 512 bytes', `08 03 1a 83 04 0a 80 04 ${'61'.repeat(512)}`],
  ['a DBI whose flags are a text', '08 03 1a 06 0a 01 61 1a 01 61'],
  ['a DBI with flags above 2^53', '08 03 1a 0e 0a 01 61 18 ff ff ff ff ff ff ff ff ff 01'],
  ['an entry that runs past its DBI', '08 03 1a 07 0a 01 61 12 05 0a 01'],
  ['an entry without fields', '08 03 1a 05 0a 01 61 12 00'],
  ['an entry whose key runs past it', '08 03 1a 07 0a 01 61 12 02 0a 05'],
  ['an entry whose time is a varint', '08 03 1a 0a 0a 01 61 12 05 0a 01 6b 18 01'],
  ['an entry whose flags never end', '08 03 1a 0a 0a 01 61 12 05 0a 01 6b 20 80'],
  ['an entry with an overlong tag', '08 03 1a 0a 0a 01 61 92 00 03 0a 01 6b'],
  ['a format version that changes', '08 03 1a 03 0a 01 61 08 01'],
  ['an entry of 65 MiB', '08 03 1a ff ff ff 7f 0a 01 61 12 80 80 c0 20 00'],
  ['a field of a streamed DBI longer than the DBI', '08 03 1a 80 80 80 04 0a 80 80 80 08 00'],
])('%s is corrupt', async (_name, text) => {
  expect(await codeOf(hex(text))).toBe('SNAPSHOT_CORRUPT');
});

test.each([
  ['no format version', '1a 03 0a 01 61', 'SNAPSHOT_INCOMPATIBLE'],
  ['no format version before a large DBI', '1a ff ff ff 7f 0a 01 61', 'SNAPSHOT_INCOMPATIBLE'],
  ['compat version 4', '08 04 20 04 1a 03 0a 01 61', 'SNAPSHOT_INCOMPATIBLE'],
  ['compat version 4 behind the DBI', '08 04 1a 03 0a 01 61 20 04', 'SNAPSHOT_INCOMPATIBLE'],
  ['a key of no bytes', '08 03 1a 08 0a 01 61 12 03 12 01 76', 'SNAPSHOT_REJECTED'],
  ['compat version 4 without a DBI', '08 04 20 04', 'done'],
  ['nothing', '', 'done'],
])('%s', async (_name, text, expected) => {
  expect(await codeOf(hex(text))).toBe(expected);
});

test('a length that claims gigabytes reserves no memory', () => {
  const reader = new SnapshotReader(new CollectingSink());
  const before = process.memoryUsage().arrayBuffers;
  reader.push(hex('08 03 1a ff ff ff ff 7f 0a 01 61 12 ff ff ff 1f 0a 01'));
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 1024 * 1024);
  expect(() => reader.end()).toThrow('cut off');
});

test('an entry above the limit is named and passed over, cut into chunks of any size, held or streamed', () => {
  const large = { key: Buffer.from('large'), value: Buffer.alloc(9000, 1), timestampNs: 1n };
  const small = (text: string) => ({
    key: Buffer.from(text),
    value: Buffer.from('v'),
    timestampNs: 1n,
  });
  const entries = [small('a'), large, small('b'), large].map((one) => ({ ...one, deleted: false }));
  const dbis = [
    { name: 'd', flags: 0, transform: '', entries },
    { name: 'e', flags: 0, transform: '', entries: entries.slice(0, 1) },
  ];
  const bytes = encodeSnapshot({ meta: EMPTY_META, dbis });
  for (const heldDbiBytes of [-1, 1 << 20]) {
    for (const chunk of [1, 700, 5000, bytes.length]) {
      const left: unknown[] = [];
      const sink = Object.assign(new CollectingSink(), {
        onTooLarge: ({ key, bytes: size }: { key: Uint8Array; bytes: number }) =>
          left.push([Buffer.from(key).toString(), size > 9000]),
      });
      const reader = new SnapshotReader(sink, { heldDbiBytes, entryBytes: 5000 });
      for (let at = 0; at < bytes.length; at += chunk) {
        reader.push(bytes.subarray(at, at + chunk));
      }
      reader.end();
      expect(left).toEqual([
        ['large', true],
        ['large', true],
      ]);
      const keys = sink.dbis.map((dbi) => dbi.entries.map(({ key }) => key));
      expect(keys).toEqual([['61', '62'], ['61']]);
    }
  }
});

test('an entry above the limit that runs past its DBI is corrupt', async () => {
  // A DBI of 64 bytes with an entry that claims 2 GiB.
  const bytes = Buffer.concat([hex('08 03 1a 40 0a 01 61 12 80 80 80 80 08'), Buffer.alloc(56)]);
  for (const heldDbiBytes of [-1, 1 << 20]) {
    const sink = Object.assign(new CollectingSink(), { onTooLarge: () => undefined });
    const reader = new SnapshotReader(sink, { heldDbiBytes });
    const code = await errorCodeOf(() => {
      reader.push(bytes);
      reader.end();
    });
    expect(code).toBe('SNAPSHOT_CORRUPT');
  }
});

test('of an entry of many megabytes no more is held than it takes', () => {
  const value = Buffer.alloc(40 * 1024 * 1024, 7);
  const entries = [{ key: Buffer.from('k'), value, timestampNs: 1n, deleted: false }];
  const dbis = [{ name: 'd', flags: 0, transform: '', entries }];
  const bytes = encodeSnapshot({ meta: EMPTY_META, dbis });
  let held = 0;
  const sink: SnapshotSink = {
    onMeta: () => {},
    onDbi: () => {},
    onEntry: ({ buffer }) => {
      held = buffer.byteLength;
    },
    onDbiEnd: () => {},
  };
  const reader = new SnapshotReader(sink);
  for (let at = 0; at < bytes.length; at += 256 * 1024) {
    reader.push(bytes.subarray(at, at + 256 * 1024));
  }
  reader.end();
  expect(held).toBeGreaterThanOrEqual(value.length);
  expect(held).toBeLessThan(value.length + 2 * 1024 * 1024);
});

test('DBIs before the format version are kept up to a bound, tiny ones too', async () => {
  const tiny = Buffer.alloc(4 * 1024 * 1024, hex('1a 01 0a'));
  const reader = new SnapshotReader(new CollectingSink());
  const before = process.memoryUsage().heapUsed;
  expect(await errorCodeOf(() => reader.push(tiny))).toBe('SNAPSHOT_INCOMPATIBLE');
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(32 * 1024 * 1024);
});

test('unknown fields are passed over without being held', () => {
  const sink = new CollectingSink();
  const reader = new SnapshotReader(sink);
  // Field 15: a gigabyte that never has to be in memory at once.
  reader.push(hex('7a 80 80 80 80 04'));
  const zeros = Buffer.alloc(4 * 1024 * 1024);
  for (let i = 0; i < 256; i++) {
    reader.push(zeros);
  }
  reader.push(
    hex('79 0000000000000000 7d 00000000 78 ff01 08 03 1a 0a 0a 01 61 12 05 0a 01 6b 20 00'),
  );
  reader.end();
  expect(sink.dbis[0]?.entries).toEqual([{ key: '6b', value: '', timestampNano: '0', flags: 0 }]);
});

test('versions and Meta may stand behind the DBIs', () => {
  const sink = parseBytes(hex('1a 0a 0a 01 61 12 05 0a 01 6b 12 00 08 01 12 03 12 01 7a'));
  expect([sink.meta?.instance, sink.versions?.formatVersion]).toEqual(['z', 1]);
  // Format 1: an empty value means deleted.
  expect(sink.dbis[0]?.entries[0]?.flags).toBe(1);
});

test('flags behind the entries are known before the entries of a DBI that can be held', () => {
  const sink = parseBytes(hex('08 03 1a 0e 12 05 0a 01 6b 12 00 18 08 0a 01 61 22 00'));
  expect(sink.dbis[0]).toMatchObject({ name: 'a', flags: 8 });
});

test('flags behind the entries of a DBI too large to be held go to a sink that can take them', async () => {
  const bytes = hex('08 03 1a 0c 0a 01 61 12 05 0a 01 6b 12 00 18 08');
  const parse = (sink: CollectingSink): void => {
    const reader = new SnapshotReader(sink, { heldDbiBytes: -1 });
    reader.push(bytes);
    reader.end();
  };
  expect(await errorCodeOf(() => parse(new CollectingSink()))).toBe('SNAPSHOT_CORRUPT');
  const late: unknown[] = [];
  parse(Object.assign(new CollectingSink(), { onLateDbiHeader: (dbi: unknown) => late.push(dbi) }));
  expect(late).toEqual([{ name: 'a', flags: 8, transform: '' }]);
});

/** Offsets at which a prefix of the message is a message: behind each field of the top level. */
function boundaries(bytes: Buffer): Set<number> {
  const ends = new Set([0]);
  for (let at = 0; at < bytes.length;) {
    const lengthDelimited = ((bytes[at] ?? 0) & 7) === 2;
    let value = 0;
    let shift = 0;
    do {
      at++;
      value |= ((bytes[at] ?? 0) & 0x7f) << shift;
      shift += 7;
    } while (((bytes[at] ?? 0) & 0x80) !== 0);
    at += 1 + (lengthDelimited ? value : 0);
    ends.add(at);
  }
  return ends;
}
