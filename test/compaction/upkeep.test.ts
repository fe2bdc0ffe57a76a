import { encodePublishedState, type PublishedState, parseUpkeep } from '../../compaction/upkeep.ts';
import { encodeManifest, parseManifest } from '../../protocol/manifest.ts';
import { streamOf } from '../../protocol/object-name.ts';

const A = streamOf('a', 'r1');
const B = streamOf('b', 'r2');
const C = streamOf('c', 'X');

const state: PublishedState = {
  manifest: {
    version: 1,
    id: 'unique',
    database: 'main',
    base: 'main__compacted__20240131-235959-012345678__Gr1__S1.base.pb.gz',
    level1: ['main__compacted__20240131-235959-012345679__Gr2__S1.base.pb.gz'],
    vector: new Map([
      [A, 9n],
      [B, 3n],
      [C, 1_700_000_000_000_000_000n],
    ]),
    entries: 10,
    tombstones: 1,
    publishedAtNs: 1_700_000_000_000_000_001n,
    rejoinBeforeNs: 17n,
  },
  upkeep: {
    settled: new Map([
      [A, 7n],
      [C, 1_700_000_000_000_000_000n],
    ]),
    settledAtNs: 5n,
    retired: new Map([['main__compacted__20240131-235958-012345678__Gr0__S1.base.pb.gz', 4n]]),
    gone: new Map([[B, { sinceNs: 3n, generation: 4n }]]),
    conditionsProvenNs: 6n,
  },
};

test('what the compactor notes comes back as it was', () => {
  const upkeep = parseUpkeep(encodePublishedState(state), state.manifest.vector);
  // A stream that is not settled at all has the number 0, which covers nothing.
  expect(upkeep).toEqual({
    ...state.upkeep,
    settled: new Map([...state.upkeep.settled, [B, 0n]]),
  });
});

test('agents read the same manifest and do not see the notes', () => {
  expect(parseManifest(encodePublishedState(state))).toEqual(state.manifest);
});

test('the notes hold only the streams whose settled number differs', () => {
  const json = JSON.parse(Buffer.from(encodePublishedState(state)).toString()) as {
    upkeep: { unsettled: object };
  };
  expect(json.upkeep.unsettled).toEqual({ [A]: '7', [B]: '0' });
});

test('a manifest without notes settles nothing but what it covers since its own time', () => {
  const upkeep = parseUpkeep(encodeManifest(state.manifest), state.manifest.vector);
  expect(upkeep.settled.size).toBe(0);
});

test.each([
  ['a number that is none', '"7"', '"seven"'],
  ['notes of another form', '"settledAtNs":"5"', '"settledAtNs":5'],
])('%s makes the manifest unreadable', (_, from, to) => {
  const text = Buffer.from(encodePublishedState(state)).toString();
  expect(text).toContain(from);
  const bytes = Buffer.from(text.replace(from, to));
  expect(() => parseUpkeep(bytes, state.manifest.vector)).toThrow(
    expect.objectContaining({ code: 'MESSAGE_INVALID' }),
  );
});
