import fc from 'fast-check';
import {
  bucketIdName,
  formatObjectName,
  instanceOfStream,
  isTimeOrdered,
  manifestName,
  newRun,
  parseObjectName,
  sanitizeInstance,
} from '../../protocol/object-name.ts';
import { nameParts } from '../support/arbitraries.ts';
import { errorCodeOf } from '../support/fixtures.ts';

const TIME = '20220102-030405-012345678';

test('parsing a name gives back what it was made from', () => {
  fc.assert(
    fc.property(nameParts, (parts) => {
      const name = formatObjectName(parts);
      expect(parseObjectName(name)).toEqual({
        name,
        database: parts.database,
        instance: parts.instance,
        timeNs: parts.timeNs,
        generation: `G${parts.run}`,
        extras: [`S${parts.seq}`, ...(parts.marked ? ['N0'] : [])],
        marked: parts.marked,
        kind: parts.kind,
        stream: `${parts.instance}.${parts.run}`,
        seq: parts.seq,
        ours: true,
      });
    }),
  );
});

test('a name that parses as ours is made again from its parts', () => {
  const text = fc.stringMatching(
    /^[a-b_.-]{0,4}__[a-b_]{0,3}__20220102-030405-012345678__G[a-b]?__S[0-9]{0,2}\.(pb|delta\.pb)\.gz$/,
  );
  fc.assert(
    fc.property(text, (name) => {
      const parsed = parseObjectName(name);
      fc.pre(
        parsed !== undefined && parsed.ours && parsed.database !== '' && parsed.instance !== '',
      );
      expect(formatObjectName({ ...parsed, run: parsed.generation.slice(1) })).toBe(name);
    }),
    { numRuns: 500 },
  );
});

test('any text parses or is foreign, without an error', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(parseObjectName(text)).toBeUndefined();
    }),
  );
});

describe('the mark', () => {
  test.each([
    [`__Gabc__S7__N0.pb.gz`, true],
    [`__Gabc__S7__N0__Y1.pb.gz`, true],
    [`__Gabc__S7.pb.gz`, false],
    [`__Gabc__S7__N1.pb.gz`, false],
    [`__Gabc__S7__Y1__N0.pb.gz`, false],
    [`__Gabc__S7__N0.delta.pb.gz`, false],
    [`__Gabc__S7__N0.base.pb.gz`, false],
  ])('is that of a full snapshot of ours, right behind its number: %s', (end, marked) => {
    expect(parseObjectName(`db1__inst1__${TIME}${end}`)).toMatchObject({
      marked,
      seq: 7n,
      ours: true,
    });
  });

  test('is refused for what is no full snapshot', async () => {
    const parts = { database: 'db1', instance: 'a', timeNs: 1n, run: 'abc', seq: 1n, marked: true };
    const code = await errorCodeOf(() => formatObjectName({ ...parts, kind: 'delta' }));
    expect(code).toBe('OBJECT_NAME_INVALID');
  });
});

describe("upstream's names", () => {
  const base = {
    name: '',
    database: 'db1',
    instance: 'inst1',
    timeNs: 1641092645012345678n,
    kind: 'snapshot',
    marked: false,
  };

  test.each([
    [`db1__inst1__${TIME}__G1.pb.gz`, { generation: 'G1', extras: [] }],
    [`db1__inst1__${TIME}__GX.pb.gz`, { generation: 'GX', extras: [] }],
    [`db1__inst1__${TIME}__G1__X123__Y456.pb.gz`, { generation: 'G1', extras: ['X123', 'Y456'] }],
    [`db1__inst1__${TIME}__.pb.gz`, { generation: '', extras: [] }],
    [`db1__inst1__${TIME}__Gabc__X1__S7.pb.gz`, { generation: 'Gabc', extras: ['X1', 'S7'] }],
    [`db1__inst1__${TIME}__Gabc__S07.pb.gz`, { generation: 'Gabc', extras: ['S07'] }],
    [`db1__inst1__${TIME}__Gabc__S0.pb.gz`, { generation: 'Gabc', extras: ['S0'] }],
    [`db1__inst1__${TIME}__GX__S7.pb.gz`, { generation: 'GX', extras: ['S7'] }],
    [`db1__inst1__${TIME}__GX__S7__N0.pb.gz`, { generation: 'GX', extras: ['S7', 'N0'] }],
  ])('%s is a snapshot in the time-ordered stream of its instance', (name, rest) => {
    expect(parseObjectName(name)).toEqual({
      ...base,
      ...rest,
      name,
      stream: 'inst1.X',
      seq: base.timeNs,
      ours: false,
    });
  });

  test.each([
    ['three parts', `db1__inst1__${TIME}.pb.gz`],
    ['a short time', 'db1__inst1__20220102-030405-012__G1.pb.gz'],
    ['a date that does not exist', 'db1__inst1__20220230-030405-012345678__G1.pb.gz'],
    ['a second that does not exist', 'db1__inst1__20220102-030460-012345678__G1.pb.gz'],
    ['a time before 1970', 'db1__inst1__19691231-235959-999999999__G1.pb.gz'],
    ['a time beyond 64 bits', 'db1__inst1__25540721-233433-709551616__G1.pb.gz'],
    ['a dot in the database', `a.b__i__${TIME}__GX.pb.gz`],
    ['the time in the wrong part', `a__b__i__${TIME}__GX.pb.gz`],
    ['another extension', `a__b__${TIME}__GX.pbz`],
    ['no extension', `a__b__${TIME}__GX`],
    ['a delta without run and number', `a__b__${TIME}__GX.delta.pb.gz`],
    ['a base without a number', `a__b__${TIME}__Gabc.base.pb.gz`],
    ['a number above 64 bits', `a__b__${TIME}__Gabc__S18446744073709551616.delta.pb.gz`],
    ['an extension that every object has', `a__b__${TIME}__GX.constructor`],
    ['a path', `../a__b__${TIME}__GX.pb.gz`],
    ['a folder', `x/a__b__${TIME}__GX.pb.gz`],
    ['a folder of Windows', `x\\a__b__${TIME}__GX.pb.gz`],
    ['a NUL', `a\0__b__${TIME}__GX.pb.gz`],
    ['a line break', `a__b__${TIME}__GX\n.pb.gz`],
    ['an absurd length', `${'a'.repeat(1000)}__b__${TIME}__GX.pb.gz`],
    ['the marker', 'update-marker'],
    ['the manifest', manifestName('main')],
    ['the bucket id', bucketIdName()],
    ['nothing', ''],
  ])('%s is foreign', (_what, name) => {
    expect(parseObjectName(name)).toBeUndefined();
  });

  test('the last moment of 64 bits is a time', () => {
    expect(parseObjectName('a__b__25540721-233433-709551615__GX.pb.gz')?.seq).toBe(2n ** 64n - 1n);
  });
});

test.each([
  { database: '' },
  { database: 'a.b' },
  { database: 'a__b' },
  { database: 'a_' },
  { database: 'a/b' },
  { database: 'a'.repeat(200) },
  { instance: '' },
  { instance: 'a_b__c' },
  { run: 'X' },
  { run: '' },
  { run: 'a'.repeat(33) },
  { seq: 0n },
  { seq: -1n },
  { seq: 2n ** 64n },
  { timeNs: -1n },
  { timeNs: 2n ** 64n },
])('no name is made of %p', async (change) => {
  const parts = {
    database: 'd',
    instance: 'i',
    timeNs: 0n,
    run: 'r',
    seq: 1n,
    kind: 'delta',
  } as const;
  expect(await errorCodeOf(() => formatObjectName({ ...parts, ...change }))).toBe(
    'OBJECT_NAME_INVALID',
  );
});

test('names of one instance sort by their time', () => {
  const name = (timeNs: bigint): string =>
    formatObjectName({ database: 'd', instance: 'i', timeNs, run: 'r', seq: 1n, kind: 'snapshot' });
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: 2n ** 63n }),
      fc.bigInt({ min: 0n, max: 2n ** 63n }),
      (a, b) => {
        expect(name(a) < name(b)).toBe(a < b);
      },
    ),
  );
});

test.each([
  ['host-a', 'host-a'],
  ['host_a.example.org', 'host-a-example-org'],
  ['hö😀', 'h--'],
])('the instance %s stands as %s in names', (text, expected) => {
  expect(sanitizeInstance(text)).toBe(expected);
});

test.each(['', 'compacted', 'Compacted', 'compacted-2'])('"%s" is no instance', async (text) => {
  expect(await errorCodeOf(() => sanitizeInstance(text))).toBe('CONFIG_INVALID');
});

test('a run is 12 characters of the alphabet that names allow', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 24, maxLength: 24 }), (bytes) => {
      expect(newRun(() => bytes)).toMatch(/^[a-z0-9]{12}$/);
    }),
  );
});

test('a stream tells its instance, and whether time orders it', () => {
  const ours = parseObjectName(`d__i-1__${TIME}__Gabc__S7.delta.pb.gz`);
  const upstreams = parseObjectName(`d__i-1__${TIME}__GX.pb.gz`);
  expect(
    [ours, upstreams].map(
      (name) => name && [instanceOfStream(name.stream), isTimeOrdered(name.stream)],
    ),
  ).toEqual([
    ['i-1', false],
    ['i-1', true],
  ]);
});
