import { sortListing } from '../../compaction/listing.ts';
import { formatObjectName, parseObjectName } from '../../protocol/object-name.ts';

const TIME_NS = 1_700_000_000_123_456_789n;

function nameOf(instance: string, seq: bigint, kind: 'delta' | 'snapshot' | 'base'): string {
  const timeNs = TIME_NS + (seq % 1_000_000n);
  return formatObjectName({ database: 'main', instance, timeNs, run: 'r1', seq, kind });
}

/** Everything that can be told of an object by its name, in the words of the parser. */
const PARTS = [
  'name',
  'database',
  'instance',
  'timeNs',
  'generation',
  'extras',
  'kind',
  'stream',
  'seq',
  'ours',
  'marked',
] as const;

const upstream = 'main__go__20231114-221320-123456889__GX.pb.gz';

test.each([
  ['a delta of ours', nameOf('a', 7n, 'delta')],
  ['a full snapshot of ours', nameOf('a', 2n ** 64n - 1n, 'snapshot')],
  ['a base', nameOf('compacted', 1n, 'base')],
  ['a full snapshot of upstream', upstream],
  ['a name with more parts', upstream.replace('GX', 'GX__more__parts')],
  ['one of ours with more parts', nameOf('a', 7n, 'snapshot').replace('__S7', '__S7__N0')],
  ['an instance with strange characters', upstream.replace('__go__', '__g o-Ü__')],
])('a listed object says what its name says: %s', (_what, name) => {
  const { snapshots, deltas, compacted, copies } = sortListing('main', [
    // Others of the same stream, whose common parts are held once.
    { name: nameOf('a', 5n, 'delta'), sizeBytes: 1, etag: '"1"', lastModifiedMs: 1 },
    { name, sizeBytes: 12_345_678_901, etag: '"2"', lastModifiedMs: 1_700_000_000_000 },
    { name: nameOf('a', 6n, 'snapshot'), sizeBytes: 1, etag: '"3"', lastModifiedMs: 1 },
  ]);
  const listed = [...snapshots, ...[...deltas.values()].flat(), ...compacted, ...copies];
  const found = listed.find((object) => object.name === name);
  const parsed = parseObjectName(name);
  expect(PARTS.map((part) => found?.[part])).toEqual(PARTS.map((part) => parsed?.[part]));
  expect(found).toMatchObject({ sizeBytes: 12_345_678_901, lastModifiedMs: 1_700_000_000_000 });
});

test('objects are sorted by what they are, beyond the first thousands, too', () => {
  const seqs = Array.from({ length: 5000 }, (_, i) => BigInt(5000 - i));
  const infos = seqs.flatMap((seq) =>
    ['a', 'b'].map((instance) => ({
      name: nameOf(instance, seq, seq % 10n === 0n ? 'snapshot' : 'delta'),
      sizeBytes: Number(seq),
      etag: '"1"',
      lastModifiedMs: Number(seq),
    })),
  );
  const foreign = { name: 'main__note.txt', sizeBytes: 1, etag: '"1"', lastModifiedMs: 1 };
  const { snapshots, deltas } = sortListing('main', [...infos, foreign]);
  expect(snapshots.map(({ seq }) => seq).slice(0, 4)).toEqual([5000n, 5000n, 4990n, 4990n]);
  expect(snapshots).toHaveLength(1000);
  const ofA = [...(deltas.get(parseObjectName(nameOf('a', 1n, 'delta'))?.stream as never) ?? [])];
  expect(ofA).toHaveLength(4500);
  expect(ofA.map(({ seq }) => seq)).toEqual(
    ofA.map(({ seq }) => seq).toSorted((x, y) => (x < y ? -1 : 1)),
  );
  expect(ofA.every(({ seq, sizeBytes }) => Number(seq) === sizeBytes)).toBe(true);
});
