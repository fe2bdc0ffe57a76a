import { SyncError } from './errors.ts';
import { MAX_VECTOR_STREAMS } from './limits.ts';
import type { StreamId } from './object-name.ts';
import {
  ByteCursor,
  MessageBuilder,
  WIRE_BYTES,
  WIRE_FIXED64,
  WIRE_VARINT,
  corrupt,
  fieldNumber,
  requireWireType,
} from './protobuf.ts';
import { EMPTY_META, type SnapshotMeta } from './snapshot.ts';
import { streamIdSchema, type VersionVector } from './version-vector.ts';

/** Field numbers of `Meta`. From 1000 on they are ours; upstream skips what it does not know here. */
export const META_FIELDS = {
  generationId: 1,
  instance: 2,
  hostname: 3,
  lmdbTxnId: 4,
  timestampNs: 5,
  databaseName: 7,
  fromLmdbTxnId: 8,
  run: 1000,
  seq: 1001,
  vector: 1002,
  writer: 1003,
  rejoinBeforeNs: 1004,
  schemaMode: 1005,
} as const;

const VECTOR_POSITION = 1;
const POSITION_STREAM = 1;
const POSITION_SEQ = 2;

/** The bytes of a `Meta` message, fields in the order in which upstream writes them, then ours. */
export function encodeMeta(meta: SnapshotMeta): Uint8Array {
  const builder = new MessageBuilder()
    .text(META_FIELDS.generationId, meta.generationId)
    .text(META_FIELDS.instance, meta.instance)
    .text(META_FIELDS.hostname, meta.hostname)
    .text(META_FIELDS.databaseName, meta.databaseName)
    .varint(META_FIELDS.lmdbTxnId, meta.lmdbTxnId)
    .fixed64(META_FIELDS.timestampNs, meta.timestampNs)
    .varint(META_FIELDS.fromLmdbTxnId, meta.fromLmdbTxnId)
    .text(META_FIELDS.run, meta.run ?? '')
    .varint(META_FIELDS.seq, meta.seq ?? 0n);
  if (meta.vector !== undefined) {
    builder.message(META_FIELDS.vector, encodeVector(meta.vector));
  }
  return builder
    .text(META_FIELDS.writer, meta.writer ?? '')
    .fixed64(META_FIELDS.rejoinBeforeNs, meta.rejoinBeforeNs ?? 0n)
    .text(META_FIELDS.schemaMode, meta.schemaMode ?? '')
    .build();
}

function encodeVector(vector: VersionVector): Uint8Array {
  const builder = new MessageBuilder();
  for (const [stream, seq] of [...vector].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const position = new MessageBuilder().text(POSITION_STREAM, stream).varint(POSITION_SEQ, seq);
    builder.message(VECTOR_POSITION, position.build());
  }
  return builder.build();
}

/** Parses a `Meta` message over the fields read so far: of a repeated field the last one counts. Errors: SNAPSHOT_CORRUPT. */
export function decodeMeta(bytes: Uint8Array, before: SnapshotMeta = EMPTY_META): SnapshotMeta {
  const cursor = new ByteCursor(bytes);
  const meta: { -readonly [K in keyof SnapshotMeta]: SnapshotMeta[K] } = { ...before };
  while (!cursor.atEnd) {
    const tag = cursor.varint();
    decodeMetaField(cursor, tag, meta);
  }
  return meta;
}

type MutableMeta = { -readonly [K in keyof SnapshotMeta]: SnapshotMeta[K] };

function decodeMetaField(cursor: ByteCursor, tag: number, meta: MutableMeta): void {
  const text = (): string => {
    requireWireType(tag, WIRE_BYTES, 'a text of Meta');
    return cursor.text();
  };
  const varint = (): bigint => {
    requireWireType(tag, WIRE_VARINT, 'a number of Meta');
    return cursor.varint64();
  };
  switch (fieldNumber(tag)) {
    case META_FIELDS.generationId:
      meta.generationId = text();
      return;
    case META_FIELDS.instance:
      meta.instance = text();
      return;
    case META_FIELDS.hostname:
      meta.hostname = text();
      return;
    case META_FIELDS.lmdbTxnId:
      meta.lmdbTxnId = BigInt.asIntN(64, varint());
      return;
    case META_FIELDS.timestampNs:
      requireWireType(tag, WIRE_FIXED64, 'Meta.timestampNano');
      meta.timestampNs = cursor.fixed64();
      return;
    case META_FIELDS.databaseName:
      meta.databaseName = text();
      return;
    case META_FIELDS.fromLmdbTxnId:
      meta.fromLmdbTxnId = BigInt.asIntN(64, varint());
      return;
    case META_FIELDS.run:
      meta.run = text();
      return;
    case META_FIELDS.seq:
      meta.seq = varint();
      return;
    case META_FIELDS.vector:
      requireWireType(tag, WIRE_BYTES, 'Meta.vector');
      meta.vector = decodeVector(cursor.bytes());
      return;
    case META_FIELDS.writer:
      meta.writer = text();
      return;
    case META_FIELDS.rejoinBeforeNs:
      requireWireType(tag, WIRE_FIXED64, 'Meta.rejoinBefore');
      meta.rejoinBeforeNs = cursor.fixed64();
      return;
    case META_FIELDS.schemaMode:
      // Empty is not written, so it states nothing.
      meta.schemaMode = text() || undefined;
      return;
    default:
      cursor.skip(tag % 8);
  }
}

function decodeVector(bytes: Uint8Array): VersionVector {
  const cursor = new ByteCursor(bytes);
  const vector = new Map<StreamId, bigint>();
  while (!cursor.atEnd) {
    const tag = cursor.varint();
    if (fieldNumber(tag) !== VECTOR_POSITION) {
      cursor.skip(tag % 8);
      continue;
    }
    requireWireType(tag, WIRE_BYTES, 'an entry of Meta.vector');
    const [stream, seq] = decodePosition(cursor.bytes());
    vector.set(stream, seq);
    if (vector.size > MAX_VECTOR_STREAMS) {
      throw corrupt(`the version vector has more than ${MAX_VECTOR_STREAMS} streams`);
    }
  }
  return vector;
}

function decodePosition(bytes: Uint8Array): [StreamId, bigint] {
  const cursor = new ByteCursor(bytes);
  let stream = '';
  let seq = 0n;
  while (!cursor.atEnd) {
    const tag = cursor.varint();
    const number = fieldNumber(tag);
    if (number === POSITION_STREAM) {
      requireWireType(tag, WIRE_BYTES, 'a stream of Meta.vector');
      stream = cursor.text();
    } else if (number === POSITION_SEQ) {
      requireWireType(tag, WIRE_VARINT, 'a number of Meta.vector');
      seq = cursor.varint64();
    } else {
      cursor.skip(tag % 8);
    }
  }
  const parsed = streamIdSchema.safeParse(stream);
  if (!parsed.success) {
    throw corrupt(`"${stream.slice(0, 80)}" in the version vector is no stream`);
  }
  return [parsed.data, seq];
}

/**
 * Who keeps the registers of a database. native: the application, with a header in each of its values
 * (`schema_tracks_changes: true`). shadow: the agent, in DBIs of its own, beside values without a header.
 *
 * A value that was taken up in one mode is another value in the other: with a header too many, or without the one that
 * the application needs. So objects say in which mode they were written.
 */
export type SchemaMode = 'native' | 'shadow';

/** What an operator has written, or has to write, for a mode. */
export function modeSetting(mode: SchemaMode): string {
  return `\`schema_tracks_changes: ${mode === 'native'}\``;
}

/**
 * Throws for an object of another mode than `ours`. One that states none passes: upstream's, and those of agents before
 * this field. Errors: SNAPSHOT_OTHER_MODE.
 */
export function requireSchemaMode(stated: string | undefined, ours: SchemaMode): void {
  if (stated === undefined || stated === ours) {
    return;
  }
  throw new SyncError(
    'SNAPSHOT_OTHER_MODE',
    `written in ${stated.slice(0, 40)} schema mode, this database is in ${ours} mode (${modeSetting(ours)})`,
    {
      hint: 'Set `schema_tracks_changes` to what fits the application, the same on all hosts.',
    },
  );
}

/** No sweeper keeps tombstones for less. Four hours. */
export const SHORTEST_RETENTION_MS = 4 * 60 * 60 * 1000;

/**
 * What a full snapshot's `rejoinBefore` counts for a reader that keeps tombstones for `retentionMs`: half of that ago at
 * most. More would be no more than a claim, and have every host read the whole bucket again and again.
 */
export function boundedRejoin(
  claimedNs: bigint | undefined,
  { nowNs, retentionMs }: { readonly nowNs: bigint; readonly retentionMs: number | undefined },
): bigint {
  const halfNs = BigInt(Math.round(retentionMs ?? SHORTEST_RETENTION_MS)) * 500_000n;
  const latestNs = nowNs - halfNs;
  const claim = claimedNs ?? 0n;
  return claim < latestNs ? claim : latestNs > 0n ? latestNs : 0n;
}
