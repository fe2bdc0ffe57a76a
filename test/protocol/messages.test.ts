import fc from 'fast-check';
import { requireMatchingMeta } from '../../protocol/delta.ts';
import { encodeManifest, parseManifest, type Manifest } from '../../protocol/manifest.ts';
import { encodeNotice, parseNotice, type Notice } from '../../protocol/notice.ts';
import { formatObjectName, parseObjectName } from '../../protocol/object-name.ts';
import { EMPTY_META } from '../../protocol/snapshot.ts';
import { nameParts, vector } from '../support/arbitraries.ts';
import { errorCodeOf } from '../support/fixtures.ts';

const objectName = nameParts.map(formatObjectName);
const manifest: fc.Arbitrary<Manifest> = fc.record({
  version: fc.constant(1 as const),
  id: fc.uuid(),
  database: fc.stringMatching(/^[a-z]{1,9}$/),
  base: objectName,
  level1: fc.array(objectName, { maxLength: 3 }),
  vector,
  entries: fc.maxSafeNat(),
  tombstones: fc.maxSafeNat(),
  publishedAtNs: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  rejoinBeforeNs: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
});
const notice: Notice = {
  version: 1,
  database: 'main',
  instance: 'a',
  name: 'main__a__20240131-235959-012345678__Gabcdefghijkl__S7.delta.pb.gz',
  sizeBytes: 312,
  eventTimeMs: 1706745599012,
};
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

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
