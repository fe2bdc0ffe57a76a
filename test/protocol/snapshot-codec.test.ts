import { createRequire } from 'node:module';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { SnapshotReader } from '../../protocol/snapshot-reader.ts';
import { MAX_ENTRY_BYTES } from '../../protocol/limits.ts';
import { decodeMeta, encodeMeta } from '../../protocol/snapshot-meta.ts';
import { SnapshotWriter } from '../../protocol/snapshot-writer.ts';
import { EMPTY_META, entryOf, entryView, type SnapshotMeta } from '../../protocol/snapshot.ts';
import {
  encodeSnapshot,
  plainSnapshot,
  snapshotMeta,
  type PlainSnapshot,
} from '../support/arbitraries.ts';
import { CollectingSink, errorCodeOf, parseBytes, type JsonDbi } from '../support/fixtures.ts';

// An independent implementation of protobuf, given only the schema of docs/format.md. DBI names are bytes.
const SCHEMA = `
  syntax = "proto3";
  message Snapshot { uint32 formatVersion = 1; uint32 compatVersion = 4; Meta meta = 2; repeated DBI databases = 3; }
  message Meta {
    string generationID = 1; string instanceID = 2; string hostname = 3; int64 lmdbTxnID = 4;
    fixed64 timestampNano = 5; string databaseName = 7; int64 fromLmdbTxnID = 8;
    string run = 1000; uint64 seq = 1001; Vector vector = 1002; string writer = 1003;
  }
  message Vector { repeated Position positions = 1; }
  message Position { string stream = 1; uint64 seq = 2; }
  message DBI { bytes name = 1; repeated KV entries = 2; uint64 flags = 3; bytes transform = 4; }
  message KV { bytes key = 1; bytes value = 2; fixed64 timestampNano = 3; uint32 flags = 4; }
`;
const Long = createRequire(require.resolve('protobufjs'))('long') as {
  fromString(text: string): unknown;
};
protobuf.util.Long = Long as never;
protobuf.configure();
const Snapshot = protobuf.parse(SCHEMA, { keepCase: true }).root.lookupType('Snapshot');
const asText = { longs: String, bytes: String, defaults: true } as const;

const latin1Base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64');
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

function independentMeta(meta: SnapshotMeta): Record<string, unknown> {
  const positions = [...(meta.vector ?? [])].map(([stream, seq]) => ({
    stream,
    seq: seq.toString(),
  }));
  positions.sort((a, b) => (a.stream < b.stream ? -1 : 1));
  return {
    generationID: meta.generationId,
    instanceID: meta.instance,
    hostname: meta.hostname,
    lmdbTxnID: meta.lmdbTxnId.toString(),
    timestampNano: meta.timestampNs.toString(),
    databaseName: meta.databaseName,
    fromLmdbTxnID: meta.fromLmdbTxnId.toString(),
    run: meta.run ?? '',
    seq: (meta.seq ?? 0n).toString(),
    vector: meta.vector === undefined ? null : { positions },
    writer: meta.writer ?? '',
  };
}

function independentForm({ meta, dbis }: PlainSnapshot): Record<string, unknown> {
  return {
    formatVersion: 3,
    compatVersion: 1,
    meta: independentMeta(meta),
    databases: dbis.map((dbi) => ({
      name: latin1Base64(dbi.name),
      flags: dbi.flags.toString(),
      transform: latin1Base64(dbi.transform),
      entries: dbi.entries.map((entry) => ({
        key: base64(entry.key),
        value: base64(entry.value),
        timestampNano: entry.timestampNs.toString(),
        flags: entry.deleted ? 1 : 0,
      })),
    })),
  };
}

/** DBI messages of one name joined, as {@link CollectingSink} gives them out. */
function collectedForm({ dbis }: PlainSnapshot): JsonDbi[] {
  const joined = new Map<string, JsonDbi>();
  for (const { name, flags, transform, entries } of dbis) {
    const dbi = joined.get(name) ?? { name, flags, transform, entries: [] };
    joined.set(name, dbi);
    for (const { key, value, timestampNs, deleted } of entries) {
      dbi.entries.push({
        key: Buffer.from(key).toString('hex'),
        value: Buffer.from(value).toString('hex'),
        timestampNano: timestampNs.toString(),
        flags: deleted ? 1 : 0,
      });
    }
  }
  return [...joined.values()];
}

test('what we write, an independent protobuf implementation reads', () => {
  fc.assert(
    fc.property(plainSnapshot, (snapshot) => {
      const decoded = Snapshot.toObject(Snapshot.decode(encodeSnapshot(snapshot)), asText);
      expect(decoded).toEqual(independentForm(snapshot));
    }),
    { numRuns: 300 },
  );
});

test('what an independent protobuf implementation writes, we read, cut into chunks of any size', () => {
  fc.assert(
    fc.property(plainSnapshot, fc.integer({ min: 1, max: 50 }), (snapshot, chunkBytes) => {
      const bytes = Snapshot.encode(Snapshot.fromObject(independentForm(snapshot))).finish();
      const sink = parseBytes(bytes, chunkBytes);
      expect(sink.dbis).toEqual(collectedForm(snapshot));
      // In the order of field numbers the compat version comes last, behind the DBIs.
      expect(sink.versions).toEqual({
        formatVersion: 3,
        compatVersion: snapshot.dbis.length > 0 ? 0 : 1,
      });
      expect(encodeMeta(sink.meta ?? EMPTY_META)).toEqual(encodeMeta(snapshot.meta));
    }),
    { numRuns: 300 },
  );
});

test('reading gives back what was written, in blocks and chunks of any size, held or streamed', () => {
  const sizes = fc.record({
    block: fc.integer({ min: 1, max: 300 }),
    chunk: fc.integer({ min: 1, max: 99 }),
    held: fc.integer({ min: -1, max: 200 }),
  });
  fc.assert(
    fc.property(plainSnapshot, sizes, (snapshot, { block, chunk, held }) => {
      const bytes = encodeSnapshot(snapshot, block);
      const sink = new CollectingSink();
      const reader = new SnapshotReader(sink, { heldDbiBytes: held });
      for (let at = 0; at < bytes.length; at += chunk) {
        reader.push(bytes.subarray(at, at + chunk));
      }
      reader.end();
      expect(sink.dbis).toEqual(collectedForm(snapshot));
      expect(sink.versions).toEqual({ formatVersion: 3, compatVersion: 1 });
    }),
    { numRuns: 500 },
  );
});

test('Meta is read as it was written, a vector without streams included', () => {
  fc.assert(
    fc.property(snapshotMeta, (meta) => {
      expect(decodeMeta(encodeMeta(meta))).toEqual(meta);
    }),
    { numRuns: 300 },
  );
  const empty = { ...EMPTY_META, vector: new Map() };
  expect(decodeMeta(encodeMeta(empty))).toEqual(empty);
});

test('a plain entry survives its view', () => {
  const plain = {
    key: Buffer.from('k'),
    value: Buffer.from('v'),
    timestampNs: 0xffff_ffff_0000_0001n,
    deleted: true,
  };
  const { key, value, ...rest } = entryOf(entryView(plain));
  expect([Buffer.from(key), Buffer.from(value), rest]).toEqual([
    plain.key,
    plain.value,
    { timestampNs: plain.timestampNs, deleted: true },
  ]);
});

test('a DBI larger than a block becomes several messages of its name, each small enough to be held', () => {
  const entries = Array.from({ length: 100 }, (_, i) => ({
    key: Buffer.from(`key ${i}`),
    value: Buffer.alloc(50, i),
    timestampNs: 1n,
    deleted: false,
  }));
  const snapshot = { meta: EMPTY_META, dbis: [{ name: 'd', flags: 8, transform: '', entries }] };
  const sink = parseBytes(encodeSnapshot(snapshot, 1000));
  expect(sink.messages).toBeGreaterThan(5);
  expect(sink.dbis).toEqual(collectedForm(snapshot));
});

test('an entry larger than a block is written whole', () => {
  const entries = [
    { key: Buffer.from('k'), value: Buffer.alloc(3_000_000, 5), timestampNs: 1n, deleted: false },
  ];
  const snapshot = { meta: EMPTY_META, dbis: [{ name: 'd', flags: 0, transform: '', entries }] };
  expect(parseBytes(encodeSnapshot(snapshot, 1000), 65536).dbis).toEqual(collectedForm(snapshot));
});

test('the writer drops the value of a deleted entry and flags that do not travel', () => {
  const view = {
    ...entryView({
      key: Buffer.from('k'),
      value: Buffer.from('v'),
      timestampNs: 1n,
      deleted: true,
    }),
    flags: 0xff,
  };
  const blocks: Uint8Array[] = [];
  const writer = new SnapshotWriter((block) => blocks.push(block));
  writer.begin(EMPTY_META);
  writer.beginDbi({ name: 'd', flags: 0, transform: '' });
  writer.entry(view);
  writer.endDbi();
  writer.end();
  const [dbi] = parseBytes(Buffer.concat(blocks)).dbis;
  expect(dbi?.entries).toEqual([{ key: '6b', value: '', timestampNano: '1', flags: 1 }]);
});

test.each([
  ['no key', Buffer.alloc(0), Buffer.of(1)],
  ['a key above 511 bytes', Buffer.alloc(512), Buffer.of(1)],
])('the writer refuses an entry that no reader takes: %s', async (_name, key, value) => {
  const writer = new SnapshotWriter(() => {});
  writer.begin(EMPTY_META);
  writer.beginDbi({ name: 'd', flags: 0, transform: '' });
  const code = await errorCodeOf(() =>
    writer.entry(entryView({ key, value, timestampNs: 1n, deleted: false })),
  );
  expect(code).toBe('SNAPSHOT_REJECTED');
});

test('the writer refuses a value above the limit before it reads it', async () => {
  const small = entryView({
    key: Buffer.of(1),
    value: Buffer.of(1),
    timestampNs: 1n,
    deleted: false,
  });
  const writer = new SnapshotWriter(() => {});
  writer.begin(EMPTY_META);
  writer.beginDbi({ name: 'd', flags: 0, transform: '' });
  const large = { ...small, valueEnd: MAX_ENTRY_BYTES };
  expect(await errorCodeOf(() => writer.entry(large))).toBe('SNAPSHOT_REJECTED');
});

test('a value of several blocks is written without a copy where the writer may lend it', () => {
  const value = Buffer.alloc(3_500_000, 7);
  const key = Buffer.from('k');
  const view = { ...entryView({ key, value: key, timestampNs: 5n, deleted: false }) };
  const lent: boolean[] = [];
  for (const lendsValues of [true, false]) {
    const blocks: Uint8Array[] = [];
    const writer = new SnapshotWriter((block) => blocks.push(block), { lendsValues });
    writer.begin(EMPTY_META);
    writer.beginDbi({ name: 'd', flags: 0, transform: '' });
    writer.entry(view);
    writer.entry({ ...view, valueStart: 0, valueEnd: value.length }, value);
    writer.entry(view);
    writer.endDbi();
    writer.end();
    lent.push(blocks.some((block) => block.buffer === value.buffer));
    const [dbi] = parseBytes(Buffer.concat(blocks), 100_000).dbis;
    const lengths = dbi?.entries.map((entry) => [entry.key, entry.value.length / 2]);
    expect(lengths).toEqual([
      ['6b', 1],
      ['6b', value.length],
      ['6b', 1],
    ]);
    expect(dbi?.entries[1]).toMatchObject({ timestampNano: '5', flags: 0 });
    expect(dbi?.entries[1]?.value).toBe(value.toString('hex'));
  }
  expect(lent).toEqual([true, false]);
});

const WITH_UNKNOWN = protobuf
  .parse(
    SCHEMA.replaceAll(
      /\}\s*(?=message|$)/g,
      'bytes a = 2000; uint64 b = 2001; fixed32 c = 2002; fixed64 d = 2003; } ',
    ),
    { keepCase: true },
  )
  .root.lookupType('Snapshot');
const UNKNOWN = { a: base64(Buffer.alloc(300, 1)), b: '123456789', c: 7, d: '8' };

test('unknown fields of every kind are passed over in every message, held or streamed', () => {
  const held = fc.constantFrom(-1, 1 << 20);
  fc.assert(
    fc.property(
      plainSnapshot,
      held,
      fc.integer({ min: 1, max: 400 }),
      (snapshot, heldDbiBytes, chunk) => {
        const plain = independentForm(snapshot) as {
          meta: { vector: { positions: object[] } | null };
          databases: { entries: object[] }[];
        };
        const { vector } = plain.meta;
        const extended = {
          ...plain,
          ...UNKNOWN,
          meta: {
            ...plain.meta,
            ...UNKNOWN,
            vector: vector && {
              ...UNKNOWN,
              positions: vector.positions.map((position) => ({ ...position, ...UNKNOWN })),
            },
          },
          databases: plain.databases.map((dbi) => ({
            ...dbi,
            ...UNKNOWN,
            entries: dbi.entries.map((entry) => ({ ...entry, ...UNKNOWN })),
          })),
        };
        const known = Snapshot.encode(Snapshot.fromObject({ formatVersion: 3 })).finish();
        const bytes = WITH_UNKNOWN.encode(WITH_UNKNOWN.fromObject(extended)).finish();
        expect(bytes.length).toBeGreaterThan(known.length + 300);
        const sink = Object.assign(new CollectingSink(), { onLateDbiHeader: () => undefined });
        const reader = new SnapshotReader(sink, { heldDbiBytes });
        for (let at = 0; at < bytes.length; at += chunk) {
          reader.push(bytes.subarray(at, at + chunk));
        }
        reader.end();
        const entriesOf = (dbis: readonly JsonDbi[]) =>
          dbis.map(({ name, entries }) => [name, entries]);
        expect(entriesOf(sink.dbis)).toEqual(entriesOf(collectedForm(snapshot)));
        expect(encodeMeta(sink.meta ?? EMPTY_META)).toEqual(encodeMeta(snapshot.meta));
      },
    ),
    { numRuns: 300 },
  );
});

test.each(['', 'a\0b', 'x'.repeat(512), 'ł'])(
  'the writer refuses %j as the name of a DBI',
  async (name) => {
    const writer = new SnapshotWriter(() => {});
    writer.begin(EMPTY_META);
    expect(await errorCodeOf(() => writer.beginDbi({ name, flags: 0, transform: '' }))).toBe(
      'SNAPSHOT_REJECTED',
    );
  },
);
