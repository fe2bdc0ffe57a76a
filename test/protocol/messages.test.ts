import fc from 'fast-check';
import { requireMatchingMeta } from '../../protocol/delta.ts';
import {
  basePositionOf,
  encodeManifest,
  missingParts,
  parseManifest,
  type Manifest,
} from '../../protocol/manifest.ts';
import { encodeNotice, parseNotice, type Notice } from '../../protocol/notice.ts';
import { formatObjectName, parseObjectName, type StreamId } from '../../protocol/object-name.ts';
import { EMPTY_META } from '../../protocol/snapshot.ts';
import { nameParts, vector } from '../support/arbitraries.ts';
import { errorCodeOf } from '../support/fixtures.ts';

const objectName = nameParts.map(formatObjectName);
const number64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const lineage = (level1: readonly string[]): fc.Arbitrary<Manifest['lineage']> =>
  fc.option(
    fc.record({
      id: fc.stringMatching(/^[a-z0-9]{12}$/),
      generation: fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }),
      prunedGeneration: number64,
      partGenerations: fc.array(number64, {
        minLength: 1 + level1.length,
        maxLength: 1 + level1.length,
      }),
    }),
    { nil: undefined },
  );
const fields = fc.record({
  version: fc.constant(1 as const),
  id: fc.uuid(),
  database: fc.stringMatching(/^[a-z]{1,9}$/),
  base: objectName,
  level1: fc.array(objectName, { maxLength: 3 }),
  vector,
  entries: fc.maxSafeNat(),
  tombstones: fc.maxSafeNat(),
  publishedAtNs: number64,
  schemaMode: fc.constantFrom('native' as const, 'shadow' as const, undefined),
  rejoinBeforeNs: number64,
  assumed: fc.option(
    vector.map((one) => new Set(one.keys())),
    { nil: undefined },
  ),
  droppedNs: fc.option(number64, { nil: undefined }),
});
const manifest: fc.Arbitrary<Manifest> = fields.chain((one) =>
  lineage(one.level1).map((place) => ({ ...one, lineage: place })),
);
const notice: Notice = {
  version: 1,
  database: 'main',
  instance: 'a',
  name: 'main__a__20240131-235959-012345678__Gabcdefghijkl__S7.delta.pb.gz',
  sizeBytes: 312,
  eventTimeMs: 1706745599012,
};
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

test('a schema mode that a later version writes into a manifest does not make it unreadable', () => {
  const [sample] = fc.sample(manifest, 1);
  const bytes =
    sample === undefined ? Buffer.alloc(0) : encodeManifest({ ...sample, schemaMode: 'native' });
  const later = Buffer.from(Buffer.from(bytes).toString().replace('"native"', '"mixed"'));
  expect(parseManifest(later)).toEqual({ ...sample, schemaMode: undefined });
});

test('a manifest is read as it was written', () => {
  fc.assert(
    fc.property(manifest, (m) => {
      expect(parseManifest(encodeManifest(m))).toEqual(m);
    }),
  );
});

test.each<Record<string, unknown>>([
  { version: 2 },
  { base: 'main__a__20240131-235959-012345678__GX.pb.gz' },
  { base: '../x' },
  { level1: ['x'] },
  { vector: { a: '1' } },
  { entries: -1 },
  { publishedAtNs: 5 },
  { id: '' },
  { assumed: ['x'] },
  { lineage: {} },
  {
    level1: [],
    lineage: { id: 'A', generation: '1', prunedGeneration: '0', partGenerations: ['1'] },
  },
  {
    level1: [],
    lineage: { id: 'a', generation: '0', prunedGeneration: '0', partGenerations: ['1'] },
  },
  { level1: [], lineage: { id: 'a', generation: '1', prunedGeneration: '0', partGenerations: [] } },
])('a manifest with %j is refused', async (change) => {
  const [valid] = fc.sample(manifest, { numRuns: 1, seed: 3 });
  const plain = JSON.parse(Buffer.from(encodeManifest(valid as Manifest)).toString()) as object;
  expect(await errorCodeOf(() => parseManifest(json({ ...plain, ...change })))).toBe(
    'MESSAGE_INVALID',
  );
  expect(parseManifest(json({ ...plain, later: 1 })).id).toBe(valid?.id);
});

test('a notice is read as it was written, and fields of later versions are ignored', () => {
  expect(parseNotice(encodeNotice(notice))).toEqual(notice);
  expect(parseNotice(JSON.stringify({ ...notice, later: [] }))).toEqual(notice);
});

test.each([
  '',
  'x',
  'null',
  '[]',
  '{}',
  JSON.stringify({ ...notice, version: 2 }),
  JSON.stringify({ ...notice, name: 'x'.repeat(9000) }),
])('what is no notice is refused: %s', async (text) => {
  expect(await errorCodeOf(() => parseNotice(text))).toBe('MESSAGE_INVALID');
});

describe('an object under a name', () => {
  const parts = { database: 'd', instance: 'i', timeNs: 5n, run: 'r', seq: 7n } as const;
  const delta = parseObjectName(formatObjectName({ ...parts, kind: 'delta' }));
  const full = parseObjectName(formatObjectName({ ...parts, kind: 'snapshot' }));
  const upstreams = parseObjectName('d__i__20240131-235959-012345678__GX.pb.gz');
  if (delta === undefined || full === undefined || upstreams === undefined) {
    throw new Error('the names of this test do not parse');
  }
  const meta = { ...EMPTY_META, databaseName: 'd', instance: 'i', run: 'r', seq: 7n };
  const state = { ...meta, vector: new Map() };

  test('is the one that the name says', async () => {
    const codes = [
      await errorCodeOf(() => requireMatchingMeta(delta, meta)),
      await errorCodeOf(() => requireMatchingMeta(full, state)),
      await errorCodeOf(() => requireMatchingMeta(upstreams, EMPTY_META)),
    ];
    expect(codes).toEqual(['done', 'done', 'done']);
  });

  test.each([
    ['another number', delta, { ...meta, seq: 8n }],
    ['another run', delta, { ...meta, run: 's' }],
    ['another database', delta, { ...meta, databaseName: 'e' }],
    ['another instance', delta, { ...meta, instance: 'j' }],
    ['nothing about itself', delta, EMPTY_META],
    ['a vector in a delta', delta, state],
    ['no vector in a full state', full, meta],
  ])('is refused where it says %s', async (_what, name, said) => {
    expect(await errorCodeOf(() => requireMatchingMeta(name, said))).toBe('SNAPSHOT_REJECTED');
  });
});

describe('a state lacks of the published one', () => {
  const [base, first, second] = ['1', '2', '3'].map((run) =>
    formatObjectName({
      database: 'd',
      instance: 'compacted',
      timeNs: 5n,
      run,
      seq: 1n,
      kind: 'base',
    }),
  ) as [string, string, string];
  const a = 'a.r' as StreamId;
  const published: Manifest = {
    version: 1,
    id: 'x',
    database: 'd',
    base,
    level1: [first, second],
    vector: new Map([[a, 7n]]),
    entries: 3,
    tombstones: 0,
    publishedAtNs: 5n,
    rejoinBeforeNs: 0n,
    lineage: { id: 'line', generation: 9n, prunedGeneration: 4n, partGenerations: [3n, 6n, 9n] },
  };
  const { stream } = basePositionOf(published);
  const all = [base, first, second];

  test.each<[string, readonly [StreamId, bigint][], readonly string[]]>([
    ['nothing, if it has that generation', [[stream, 9n]], []],
    ['the parts that are newer than what it has', [[stream, 5n]], [first, second]],
    ['only the newest', [[stream, 6n]], [second]],
    ['everything, if it has none', [], all],
    ['everything, if it covers the vector and knows too old a generation', [[a, 7n]], all],
    ['everything, if it has one of another lineage', [['compacted.other' as StreamId, 20n]], all],
    [
      'nothing, if it covers the vector and knows what has left it',
      [
        [a, 7n],
        [stream, 4n],
      ],
      [],
    ],
  ])('%s', (_, vector, missing) => {
    expect(missingParts(published, new Map(vector))).toEqual(missing);
  });

  test('everything, if the vector of the published one is empty', () => {
    const lineage = { ...published.lineage, prunedGeneration: 0n } as Manifest['lineage'];
    expect(missingParts({ ...published, lineage, vector: new Map() }, new Map())).toEqual(all);
  });

  test('everything of one without lineage, until it was read once', () => {
    const earlier: Manifest = { ...published, lineage: undefined };
    const position = basePositionOf(earlier);
    expect(missingParts(earlier, new Map([[a, 7n]]))).toEqual(all);
    const read = new Map([[position.stream, position.seq]]);
    expect(missingParts(earlier, read)).toEqual(all);
    expect(missingParts(earlier, read.set(a, 7n))).toEqual([]);
  });
});
