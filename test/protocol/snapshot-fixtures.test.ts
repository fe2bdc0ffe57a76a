import { parseObjectName } from '../../protocol/object-name.ts';
import {
  errorCodeOf,
  fixtureBytes,
  fixtureJson,
  readObject,
  type CollectingSink,
  type JsonSnapshot,
} from '../support/fixtures.ts';

type Outcome = { case: string; snapshot: string; exitCode: number | string };
type Dumped = {
  name: string;
  entries: { key: string; value: string; timestampNano: string; flags: number }[];
};

function expectDecoded(sink: CollectingSink, expected: JsonSnapshot): void {
  const { formatVersion, compatVersion, meta, dbis } = expected;
  expect(sink.versions).toEqual({ formatVersion, compatVersion });
  expect(sink.meta).toEqual({
    generationId: meta.generationID,
    instance: meta.instanceID,
    hostname: meta.hostname,
    databaseName: meta.databaseName,
    lmdbTxnId: BigInt(meta.lmdbTxnID ?? 0),
    timestampNs: BigInt(meta.timestampNano ?? 0),
    fromLmdbTxnId: 0n,
  });
  expect(
    sink.dbis.map(({ name, flags, transform, entries }) => ({ name, flags, transform, entries })),
  ).toEqual(
    dbis.map(({ name, flags, transform, entries }) => ({ name, flags, transform, entries })),
  );
}

describe('snapshots written by upstream', () => {
  test('a: hand-made values of every kind decode entry by entry', async () => {
    const expected = fixtureJson('a-native-small', 'expected.json') as JsonSnapshot;
    expectDecoded(await readObject(fixtureBytes('a-native-small', expected.snapshot)), expected);
  });

  test('b: both databases of a real PowerDNS decode entry by entry', async () => {
    const { databases } = fixtureJson('b-powerdns-native', 'expected.json') as {
      databases: Record<string, JsonSnapshot>;
    };
    for (const expected of Object.values(databases)) {
      expectDecoded(
        await readObject(fixtureBytes('b-powerdns-native', expected.snapshot)),
        expected,
      );
    }
    expect(Object.keys(databases)).toEqual(['main', 'shard']);
  });

  test('e: the snapshot written after a merge decodes entry by entry', async () => {
    const expected = fixtureJson('e-merge', 'expected.json') as {
      snapshotWrittenAfterMerge: JsonSnapshot;
    };
    const { snapshot } = expected.snapshotWrittenAfterMerge;
    expectDecoded(
      await readObject(fixtureBytes('e-merge', snapshot)),
      expected.snapshotWrittenAfterMerge,
    );
  });

  test('h: integer keys decode in the order of their DBI', async () => {
    const { results } = fixtureJson('h-edges', 'expected.json') as {
      results: { snapshots?: JsonSnapshot[] }[];
    };
    const snapshots = results.flatMap((result) => result.snapshots ?? []);
    for (const expected of snapshots) {
      expectDecoded(await readObject(fixtureBytes('h-edges', expected.snapshot)), expected);
    }
    expect(snapshots).toHaveLength(2);
  });
});

describe('f: old formats', () => {
  type Result = { formatVersion: number; mode: string; snapshot: string; lmdb: Dumped[] };
  const { results, odd } = fixtureJson('f-old-formats', 'expected.json') as {
    results: Result[];
    odd: (Outcome & { lmdb?: Dumped[] })[];
  };
  const native = results.filter((result) => result.mode === 'native');

  test.each(native)(
    'format $formatVersion reads as upstream reads it ($snapshot)',
    async (result) => {
      const sink = await readObject(fixtureBytes('f-old-formats', result.snapshot));
      expect(sink.versions?.formatVersion).toBe(result.formatVersion);
      // Upstream's LMDB is sorted and has dropped the values of deleted entries.
      expect(loaded(sink)).toEqual(result.lmdb.map(entriesOf));
    },
  );

  const REFUSED: Record<string, string> = {
    'empty-key': 'SNAPSHOT_REJECTED',
    'empty-kv-message': 'SNAPSHOT_CORRUPT',
    'dbi-without-name': 'SNAPSHOT_CORRUPT',
  };
  // Upstream loses count in the first four and ends its process over the last. Here what is known of them is read.
  const AB = ['61=31', '62=32'];
  const READ_HERE: Record<string, unknown> = {
    'unknown-dbi-field-3-bytes': ['ok', AB],
    'unknown-dbi-field-9-bytes': ['ok', AB],
    'unknown-dbi-field-40-bytes': ['ok', AB],
    'unknown-dbi-varint-large': ['ok', ['61=31']],
    'key-512-bytes': ['r', [`${'71'.repeat(512)}=31`]],
  };
  // The codec reads these; whether they fit a database is decided where they are applied.
  const NOT_FOR_NATIVE = [
    'dupsort-native',
    'dupsort-without-transform-shadow',
    'unknown-transform',
  ];

  const refused = odd.filter((result) => result.case in REFUSED);
  const foreign = odd.filter((result) => NOT_FOR_NATIVE.includes(result.case));
  const better = odd.filter((result) => result.case in READ_HERE);
  const accepted = odd.filter((result) => ![...refused, ...foreign, ...better].includes(result));

  test.each(accepted)('$case is read as upstream reads it', async (result) => {
    const sink = await readObject(fixtureBytes('f-old-formats', result.snapshot));
    expect(result.exitCode).toBe(0);
    expect(loaded(sink)).toEqual((result.lmdb ?? []).map(entriesOf));
  });

  test.each(refused)('$case is refused', async (result) => {
    const code = await errorCodeOf(() =>
      readObject(fixtureBytes('f-old-formats', result.snapshot)),
    );
    expect(code).toBe(REFUSED[result.case]);
  });

  test.each(better)('$case is read here, though not by upstream', async (result) => {
    const { dbis } = await readObject(fixtureBytes('f-old-formats', result.snapshot));
    const read = dbis.map(({ name, entries }) => [
      name,
      entries.map(({ key, value }) => `${key}=${value}`),
    ]);
    expect(read).toEqual([READ_HERE[result.case]]);
  });

  test.each(foreign)('$case decodes, and shows what does not fit', async (result) => {
    const sink = await readObject(fixtureBytes('f-old-formats', result.snapshot));
    const { flags = 0, transform = '' } = sink.dbis[0] ?? {};
    expect(flags !== 0 || transform !== '').toBe(true);
  });
});

describe('g: damaged and foreign files', () => {
  const { results } = fixtureJson('g-corrupt', 'expected.json') as { results: Outcome[] };
  const cases = [...new Map(results.map((result) => [result.case, result])).values()];
  const nameOf = ({ snapshot }: Outcome): string => snapshot.slice(snapshot.lastIndexOf('/') + 1);
  const foreign = cases.filter((result) => parseObjectName(nameOf(result)) === undefined);
  const EXPECTED: Record<string, string> = {
    'gzip-of-nothing': 'done',
    'compatversion-4': 'SNAPSHOT_INCOMPATIBLE',
    'formatversion-missing': 'SNAPSHOT_INCOMPATIBLE',
  };

  test('names that upstream ignores are ignored', () => {
    const ignored = ['wrong-extension', 'too-few-name-parts', 'bad-timestamp-in-name'];
    expect(foreign.map((result) => result.case).sort()).toEqual(ignored.sort());
  });

  test.each(cases.filter((result) => !foreign.includes(result)))('$case', async (result) => {
    const code = await errorCodeOf(() => readObject(fixtureBytes('g-corrupt', result.snapshot)));
    expect(code).toBe(EXPECTED[result.case] ?? 'SNAPSHOT_CORRUPT');
  });
});

/** What an empty database would hold after a load: later entries of a key win only if newer (here: by time, then value). */
function loaded(sink: CollectingSink): unknown[] {
  const dbis = sink.dbis.filter((dbi) => !dbi.name.startsWith('_sync'));
  return dbis.map((dbi) => {
    const byKey = new Map<string, Dumped['entries'][number]>();
    for (const entry of dbi.entries) {
      const old = byKey.get(entry.key);
      const newer =
        old === undefined ||
        BigInt(entry.timestampNano) > BigInt(old.timestampNano) ||
        (entry.timestampNano === old.timestampNano && entry.value < old.value);
      if (newer) {
        byKey.set(entry.key, { ...entry, value: entry.flags === 1 ? '' : entry.value });
      }
    }
    return entriesOf({ name: dbi.name, entries: [...byKey.values()] });
  });
}

function entriesOf(dbi: Dumped): unknown {
  const entries = dbi.entries.map(({ key, value, timestampNano, flags }) => ({
    key,
    value,
    timestampNano,
    flags,
  }));
  return { name: dbi.name, entries: entries.sort((a, b) => (a.key < b.key ? -1 : 1)) };
}
