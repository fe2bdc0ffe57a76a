import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { WrittenValues } from '../../../agent/lmdb/changes/own-writes.ts';
import { Environment, type WriteTxn } from '../../../agent/lmdb/environment.ts';
import { PackedEntries } from '../../../agent/lmdb/packed-entries.ts';
import { txnIdAt } from '../../../protocol/value-header.ts';
import { databaseOptions, dumpRaw, scratchFolder } from '../../support/lmdb.ts';
import { putSingly } from '../../support/lmdb-writer/plain-writes.ts';

const KINDS = { plain: 0, reversed: 2, integers: 8 } as const;
type Kind = keyof typeof KINDS;
const KINDS_OF = Object.keys(KINDS) as Kind[];

type Entry = { dbiName: Kind; key: Buffer; value: Buffer; leftOut: boolean };

const folder = scratchFolder();
let count = 0;

afterEach(() => jest.restoreAllMocks());
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Few keys, so that many repeat; a value may be longer than a page. */
const entry: fc.Arbitrary<Entry> = fc
  .record({
    dbiName: fc.constantFrom(...KINDS_OF),
    number: fc.nat({ max: 150 }),
    value: fc.oneof(
      fc.uint8Array({ minLength: 24, maxLength: 90 }),
      fc.integer({ min: 1900, max: 5000 }).map((length) => new Uint8Array(length).fill(7)),
    ),
    leftOut: fc.nat({ max: 5 }).map((n) => n === 0),
  })
  .map(({ dbiName, number, value, leftOut }) => ({
    dbiName,
    key: keyOf(dbiName, number),
    value: Buffer.from(value),
    leftOut,
  }));

/** In no order, or ascending, as they come from most objects. */
const entries = fc
  .tuple(fc.array(entry, { maxLength: 120, size: 'max' }), fc.boolean())
  .map(([all, isSorted]) =>
    isSorted ? all.toSorted((a, b) => Buffer.compare(a.key, b.key)) : all,
  );

function keyOf(kind: Kind, number: number): Buffer {
  if (kind !== 'integers') {
    return Buffer.from(number.toString(7));
  }
  const key = Buffer.alloc(4);
  key.writeUInt32LE(number);
  return key;
}

/** Quicker to compare than the bytes. */
function textOf(value: Buffer | undefined): string | undefined {
  return value?.toString('latin1');
}

function pack(all: readonly Entry[]): PackedEntries {
  const packed = new PackedEntries({ hasHeaders: true });
  for (const { dbiName, key, value, leftOut } of all) {
    const at = packed.append(dbiName, key.length, value.length);
    const row = packed.row!;
    key.copy(row.bytes, row.keyStart(at));
    value.copy(row.bytes, row.keyStart(at) + key.length);
    if (leftOut) {
      packed.leaveOut({ row, at });
    }
  }
  return packed;
}

/** Puts all of them, so many with each call, and returns how many were put. */
function putAll(txn: WriteTxn, packed: PackedEntries, atMost: number): number {
  let put = 0;
  for (const row of packed.rows) {
    for (let at = row.start; at < row.end;) {
      const part = txn.putPacked(row, at, atMost);
      put += part.put;
      at = part.next;
    }
  }
  return put;
}

/** What an LMDB holds after one transaction for each of the sets. */
async function stored(sets: readonly (readonly Entry[])[], atMost: number): Promise<string[]> {
  count += 1;
  const file = path.join(folder, `${count}.mdb`);
  const environment = Environment.open(databaseOptions(file));
  try {
    for (const all of sets) {
      const packed = pack(all);
      const { result, txnId } = environment.write((txn) => {
        for (const [name, flags] of Object.entries(KINDS)) {
          txn.createDbi(name, flags);
        }
        return putAll(txn, packed, atMost);
      });
      expect(result).toBe(packed.count);
      const dump = dumpRaw(file);
      for (const { dbiName, key } of all.filter(({ leftOut }) => !leftOut)) {
        const value = dump[dbiName]?.[key.toString('latin1')];
        expect(value && txnIdAt(value, 0)).toBe(txnId);
      }
    }
    return Object.entries(dumpRaw(file)).flatMap(([name, values]) =>
      Object.entries(values).map(([key, value]) => `${name}/${key}=${value.toString('latin1')}`),
    );
  } finally {
    await environment.close();
    fs.rmSync(file);
  }
}

test('entries put in one call leave what the same entries leave that are put one by one', async () => {
  const sets = fc.array(entries, { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(sets, fc.integer({ min: 1, max: 70 }), async (given, atMost) => {
      const packed = await stored(given, atMost);
      putSingly();
      expect(packed).toEqual(await stored(given, atMost));
      jest.restoreAllMocks();
    }),
    { numRuns: 12 },
  );
});

test('a transaction that leaves out all of its entries writes nothing', async () => {
  const file = path.join(folder, 'none.mdb');
  const environment = Environment.open(databaseOptions(file));
  environment.write((txn) => txn.createDbi('plain', 0));
  const packed = pack([
    { dbiName: 'plain', key: Buffer.from('a'), value: Buffer.alloc(24), leftOut: true },
  ]);
  expect(environment.write((txn) => putAll(txn, packed, 9))).toMatchObject({
    result: 0,
    txnId: undefined,
  });
  await environment.close();
});

test.each([
  ['longer than its row', 300, 4000],
  ['longer than any', 300, 0xffff_ffff],
  ['without a key', 0, 608],
])('an entry %s fails the transaction, and nothing is written', async (_, keyBytes, valueBytes) => {
  const file = path.join(folder, `bad-${keyBytes}-${valueBytes}.mdb`);
  const environment = Environment.open(databaseOptions(file));
  environment.write((txn) => txn.createDbi('plain', 0));
  const packed = pack([
    { dbiName: 'plain', key: Buffer.from('a'), value: Buffer.alloc(24), leftOut: false },
    { dbiName: 'plain', key: Buffer.alloc(300), value: Buffer.alloc(308), leftOut: false },
  ]);
  const [row] = packed.rows;
  const second = row!.next(row!.start);
  const heads = new Uint32Array(row!.bytes.buffer, row!.bytes.byteOffset);
  heads[second / 4] = keyBytes;
  heads[second / 4 + 1] = valueBytes;
  expect(() => environment.write((txn) => putAll(txn, packed, 9))).toThrow(/MDB_|Invalid/);
  expect(dumpRaw(file)).toEqual({ plain: {} });
  await environment.close();
});

test('what a transaction wrote is found by key, the last value of each, however it was put', () => {
  fc.assert(
    fc.property(entries, entries, (singly, packed) => {
      const written = new WrittenValues();
      const expected = new Map<string, Buffer>();
      const note = ({ dbiName, key, value }: Entry) =>
        expected.set(`${dbiName}/${key.toString('latin1')}`, value);
      for (const one of singly) {
        written.add(one.dbiName, one.key, one.value);
        note(one);
      }
      for (const row of pack(packed).rows) {
        // In pieces, as a transaction puts them.
        const middle = row.next(row.start);
        written.addPacked(row, row.start, middle);
        written.addPacked(row, middle, row.end);
      }
      for (const one of packed.filter(({ leftOut }) => !leftOut)) {
        note(one);
      }
      for (const { dbiName, key } of [...singly, ...packed]) {
        const text = key.toString('latin1');
        expect(textOf(written.get(dbiName, text))).toBe(textOf(expected.get(`${dbiName}/${text}`)));
      }
      const shown = new Map<string, string | undefined>();
      for (const { dbiName, key, value } of written.entries()) {
        shown.set(`${dbiName}/${key.toString('latin1')}`, textOf(value));
      }
      expect(shown).toEqual(new Map([...expected].map(([key, value]) => [key, textOf(value)])));
    }),
    { numRuns: 40 },
  );
});
