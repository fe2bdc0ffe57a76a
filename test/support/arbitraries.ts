import fc from 'fast-check';
import type { Register } from '../../protocol/register.ts';
import type { DbiHeader, Entry, EntryView, SnapshotMeta } from '../../protocol/snapshot.ts';
import { entryView } from '../../protocol/snapshot.ts';
import { SnapshotWriter } from '../../protocol/snapshot-writer.ts';
import { streamOf, type ObjectNameParts, type StreamId } from '../../protocol/object-name.ts';
import { MAX_TIMESTAMP_NS } from '../../protocol/time.ts';
import { writeValueHeader } from '../../protocol/value-header.ts';
import type { VersionVector } from '../../protocol/version-vector.ts';

/** Any timestamp, mostly such that ties and differences in one half only occur. */
export const timestampNs: fc.Arbitrary<bigint> = fc.oneof(
  fc.bigInt({ min: 0n, max: 3n }),
  fc.constantFrom(0xffff_ffffn, 0x1_0000_0000n, 0x8000_0000_0000_0000n, MAX_TIMESTAMP_NS),
  fc.bigInt({ min: 0n, max: MAX_TIMESTAMP_NS }),
);

/** Bytes, often equal or prefixes of each other. */
const smallValue: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.constant(new Uint8Array(0)),
  fc.uint8Array({ maxLength: 3, max: 2 }),
  fc.uint8Array({ maxLength: 40 }),
  fc.integer({ min: 120, max: 400 }).map((length) => new Uint8Array(length).fill(7)),
);

/** A well-formed register: a deleted one is empty. */
export const register: fc.Arbitrary<Register> = fc
  .record({ timestampNs, value: smallValue, deleted: fc.boolean() })
  .map((r) => (r.deleted ? { ...r, value: new Uint8Array(0) } : r));

/** A key that LMDB can hold. */
const key: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 30 }),
  fc.uint8Array({ minLength: 120, maxLength: 140 }),
  fc.constant(new Uint8Array(511).fill(0xff)),
);

/** An entry as a writer gives it out: a deleted one is empty. */
export const entry: fc.Arbitrary<Entry> = fc
  .record({ key, register })
  .map(({ key: bytes, register: r }) => ({ key: bytes, ...r }));

/** A DBI's header; the name is any bytes but NUL. */
const dbiHeader: fc.Arbitrary<DbiHeader> = fc.record({
  name: fc
    .uint8Array({ minLength: 1, maxLength: 20, min: 1 })
    .map((bytes) => Buffer.from(bytes).toString('latin1')),
  flags: fc.constantFrom(0, 2, 4, 8, 0x1c, 0x40),
  transform: fc.constantFrom('', 'dupsort_hack_v1'),
});

const run: fc.Arbitrary<string> = fc.stringMatching(/^[a-z0-9]{12}$/);
const instance: fc.Arbitrary<string> = fc.stringMatching(/^[A-Za-z0-9-]{1,20}$/);

/** A stream of ours or of an upstream instance. */
export const streamId: fc.Arbitrary<StreamId> = fc
  .tuple(instance, fc.oneof(run, fc.constant('X')))
  .map(([name, r]) => streamOf(name, r));

const seq: fc.Arbitrary<bigint> = fc.oneof(
  fc.bigInt({ min: 1n, max: 20n }),
  fc.bigInt({ min: 1n, max: 0xffff_ffff_ffff_ffffn }),
);

/** A vector of a few streams out of a small set, so that vectors overlap. */
export const vector: fc.Arbitrary<VersionVector> = fc.oneof(
  fc
    .array(fc.tuple(fc.constantFrom('a.x1', 'a.x2', 'b.X', 'c.y'), fc.bigInt({ min: 1n, max: 5n })))
    .map((pairs) => new Map(pairs.map(([stream, n]) => [stream as StreamId, n]))),
  fc.array(fc.tuple(streamId, seq), { maxLength: 10 }).map((pairs) => new Map(pairs)),
);

/** The parts of an object name that can be made. */
export const nameParts: fc.Arbitrary<Required<ObjectNameParts>> = fc
  .record({
    database: fc.stringMatching(/^[A-Za-z0-9-]([A-Za-z0-9-]|_[A-Za-z0-9-]){0,10}$/),
    instance,
    timeNs: timestampNs,
    run,
    seq,
    kind: fc.constantFrom('snapshot', 'delta', 'base'),
    marked: fc.boolean(),
  })
  .map((parts) => ({ ...parts, marked: parts.marked && parts.kind === 'snapshot' }));

const text = fc.string({ maxLength: 20, unit: 'grapheme' });
const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

/** Any Meta, with and without our extension fields. */
export const snapshotMeta: fc.Arbitrary<SnapshotMeta> = fc
  .record({
    generationId: text,
    instance: text,
    hostname: text,
    lmdbTxnId: int64,
    timestampNs,
    databaseName: text,
    fromLmdbTxnId: int64,
    extension: fc.option(
      fc.record({ run, seq, vector: fc.option(vector, { nil: undefined }), writer: run }),
      { nil: {} },
    ),
  })
  .map(({ extension, ...meta }) => ({ ...meta, ...extension }));

/** A snapshot in plain values. */
export type PlainSnapshot = {
  readonly meta: SnapshotMeta;
  readonly dbis: readonly (DbiHeader & { readonly entries: readonly Entry[] })[];
};

/** A small snapshot; DBI names and keys may repeat. */
export const plainSnapshot: fc.Arbitrary<PlainSnapshot> = fc.record({
  meta: snapshotMeta,
  dbis: fc.array(
    fc
      .record({ header: dbiHeader, entries: fc.array(entry, { maxLength: 8 }) })
      .map(({ header, entries }) => ({ ...header, entries })),
    { maxLength: 4 },
  ),
});

/** The message of a snapshot, as our writer makes it. */
export function encodeSnapshot(snapshot: PlainSnapshot, blockBytes?: number): Buffer {
  const blocks: Uint8Array[] = [];
  const writer = new SnapshotWriter((block) => blocks.push(block), { blockBytes });
  writer.begin(snapshot.meta);
  for (const { name, flags, transform, entries } of snapshot.dbis) {
    writer.beginDbi({ name, flags, transform });
    for (const plain of entries) {
      writer.entry(entryView(plain));
    }
    writer.endDbi();
  }
  writer.end();
  return Buffer.concat(blocks);
}

/** A stored native value: header and application value. */
export function storedValue(r: Register, extensionBlocks = 0): Buffer {
  const value = Buffer.alloc(24 + 8 * extensionBlocks + r.value.length, 0xee);
  writeValueHeader(value, 0, {
    timeHi: Number(r.timestampNs >> 32n),
    timeLo: Number(r.timestampNs & 0xffff_ffffn),
    txnId: 7,
    flags: r.deleted ? 1 : 0,
  });
  value.writeUInt16BE(extensionBlocks, 22);
  value.set(r.value, 24 + 8 * extensionBlocks);
  return value;
}

/** A register as the entry of a snapshot. */
export function viewOf(r: Register, keyText = 'k'): EntryView {
  return entryView({ key: Buffer.from(keyText), ...r });
}
