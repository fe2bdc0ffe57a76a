import fc from 'fast-check';
import type { SnapshotSource } from '../../../compaction/merge/cursor.ts';
import { DbiTable } from '../../../compaction/merge/dbi-table.ts';
import { fold } from '../../../compaction/merge/fold.ts';
import { keyOrderOf } from '../../../protocol/key-order.ts';
import { checkSnapshot, loadInto } from '../../../compaction/merge/load.ts';
import { Sorter } from '../../../compaction/merge/sorter.ts';
import { EMPTY_META, type Entry } from '../../../protocol/snapshot.ts';
import {
  MemoryScratch,
  encodeSnapshot,
  mergeBytes,
  plain,
  type State,
  type TestDbi,
} from '../../support/compaction.ts';

const INTEGER_KEY = 8;
const REVERSE_KEY = 2;
const checkTime = (): void => {};

function source(name: string, bytes: Uint8Array, chunkBytes = 1 << 20): SnapshotSource {
  return {
    name,
    existing: name === 'input 0',
    async *open() {
      for (let at = 0; at < bytes.length; at += chunkBytes) {
        yield bytes.subarray(at, at + chunkBytes);
      }
    },
  };
}

async function foldAll(inputs: readonly Uint8Array[], sorted: readonly Uint8Array[] = []) {
  const table = new DbiTable();
  const scratch = new MemoryScratch();
  const sorter = new Sorter({ table, scratch, checkTime, maxBytes: 200 });
  for (const [at, bytes] of inputs.entries()) {
    await loadInto(sorter, source(`object ${at}`, bytes, 50), { table, checkTime });
  }
  const sources = sorted.map((bytes, at) => source(`input ${at}`, bytes));
  const options = { table, scratch, checkTime, meta: EMPTY_META };
  const { file, ...counts } = await fold({ sources, sorter }, options);
  const chunks: Uint8Array[] = [];
  for await (const chunk of file.open()) {
    chunks.push(chunk);
  }
  return { bytes: Buffer.concat(chunks), ...counts };
}

const register = fc.record({
  value: fc.constantFrom('', 'a', 'ab', 'b'),
  timestampNs: fc.constantFrom(0n, 1n, 2n, (1n << 32n) + 1n, 0xffff_ffff_ffff_ffffn),
  deleted: fc.boolean(),
});
const textEntry = fc
  .tuple(fc.constantFrom('a', 'aa', 'b', 'c', '\u00ff', 'k'.repeat(511)), register)
  .map(([key, rest]) => toEntry(Buffer.from(key, 'latin1'), rest));
const numberEntry = fc
  .tuple(fc.constantFrom(1, 2, 255, 256, 257, 65_536, 2 ** 31, 2 ** 32 - 1), register)
  .map(([number, rest]) => {
    const key = Buffer.alloc(4);
    key.writeUInt32LE(number);
    return toEntry(key, rest);
  });

function toEntry(key: Buffer, rest: { value: string; timestampNs: bigint; deleted: boolean }) {
  return { ...rest, key, value: Buffer.from(rest.deleted ? '' : rest.value) };
}

// In any order, repeated, one DBI in several messages: what damaged or foreign writers make.
const dbis: fc.Arbitrary<TestDbi[]> = fc.array(
  fc.oneof(
    fc.record({
      name: fc.constantFrom('text', 'more'),
      entries: fc.array(textEntry, { maxLength: 6 }),
    }),
    fc.record({
      name: fc.constant('numbers'),
      flags: fc.constant(INTEGER_KEY),
      entries: fc.array(numberEntry, { maxLength: 6 }),
    }),
  ),
  { maxLength: 5 },
);

test('folding any objects in any form gives what merging them one by one gives', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(dbis, { maxLength: 6 }),
      fc.array(dbis, { maxLength: 4 }),
      async (loose, streamed) => {
        const inputs = loose.map((dbis) => encodeSnapshot({}, dbis));
        const sorted = streamed.map((dbis) => encodeSnapshot({}, dbis));
        const want: State = new Map();
        for (const bytes of [...sorted, ...inputs]) {
          mergeBytes(want, bytes);
        }
        const folded = await foldAll(inputs, sorted);
        const have: State = new Map();
        mergeBytes(have, folded.bytes);
        expect(plain(have)).toEqual(plain(want));
        expect([...have.keys()].toSorted((a, b) => (a < b ? -1 : 1))).toEqual(
          [...want.keys()].toSorted((a, b) => (a < b ? -1 : 1)),
        );
        const all = [...have.values()].flatMap((dbi) => [...dbi.values()]);
        expect(folded.entries).toBe(all.length);
        expect(folded.tombstones).toBe(all.filter(({ deleted }) => deleted).length);
        // What a fold writes is in order, so that the next fold streams it.
        const checked = await checkSnapshot(source('result', folded.bytes), {
          table: new DbiTable(),
          checkTime,
        });
        expect(checked.sorted).toBe(true);
      },
    ),
    { numRuns: 150 },
  );
});

function entriesOf(keys: readonly Uint8Array[], time: bigint): Entry[] {
  return keys.map((key) => ({ key, value: Buffer.from('v'), timestampNs: time, deleted: false }));
}

test('more inputs than are merged at once are merged in groups', async () => {
  const inputs = Array.from({ length: 70 }, (_, i) =>
    encodeSnapshot({}, [
      {
        name: 'd',
        entries: entriesOf([Buffer.from(`k${i % 7}`), Buffer.from(`l${i}`)], BigInt(i)),
      },
    ]),
  );
  const want: State = new Map();
  for (const bytes of inputs) {
    mergeBytes(want, bytes);
  }
  const have: State = new Map();
  mergeBytes(have, (await foldAll([], inputs)).bytes);
  expect(plain(have)).toEqual(plain(want));
});

test('as many unsorted inputs as there are get sorted, each at its own restart of the fold', async () => {
  const inputs = Array.from({ length: 20 }, (_, i) =>
    encodeSnapshot({}, [
      { name: 'd', entries: entriesOf([Buffer.from(`z${i}`), Buffer.from('a')], BigInt(i)) },
    ]),
  );
  const want: State = new Map();
  for (const bytes of inputs) {
    mergeBytes(want, bytes);
  }
  const have: State = new Map();
  mergeBytes(have, (await foldAll([], inputs)).bytes);
  expect(plain(have)).toEqual(plain(want));
});

test.each([
  ['bytewise', 0, ['01', '0100', '02', 'ff']],
  ['as little-endian numbers with INTEGERKEY', INTEGER_KEY, ['02000000', '00010000', '000000ff']],
  ['from the last byte with REVERSEKEY', REVERSE_KEY, ['ff01', '0002', '0102']],
])('keys are ordered %s', (_, flags, ascending) => {
  const compare = keyOrderOf(flags);
  const keys = ascending.map((hex) => Buffer.from(hex, 'hex'));
  for (const [i, a] of keys.entries()) {
    for (const [j, b] of keys.entries()) {
      expect(Math.sign(compare(a, 0, a.length, b, 0, b.length))).toBe(Math.sign(i - j));
    }
  }
});

test.each([
  ['DUPSORT without the transform', 4, ''],
  ['the transform without DUPSORT', 0, 'dupsort_hack_v1'],
  ['an unknown transform', 0, 'rot13'],
])('an object with %s does not go into a base', async (_, flags, transform) => {
  const bytes = encodeSnapshot({}, [{ name: 'd', flags, transform, entries: [] }]);
  const options = { table: new DbiTable(), checkTime };
  await expect(checkSnapshot(source('s', bytes), options)).rejects.toMatchObject({
    code: 'SNAPSHOT_REJECTED',
  });
});

test('private DBIs do not go into a base', async () => {
  const entries = entriesOf([Buffer.from('k')], 1n);
  const bytes = encodeSnapshot({}, [{ name: '_sync_state', entries }]);
  expect(await foldAll([bytes])).toMatchObject({ entries: 0 });
  expect(await foldAll([], [bytes])).toMatchObject({ entries: 0 });
});
