import { SyncError } from './errors.ts';
import type { TimestampNs } from './time.ts';

/** Bytes of a value header without extension blocks. */
export const VALUE_HEADER_BYTES = 24;

/** Flag: the key was deleted at the header's time; the application value is empty. */
export const FLAG_DELETED = 1;

/** The flags that travel; all others are local and dropped. */
export const SYNC_FLAGS_MASK = 1;

const VERSION_OFFSET = 16;
const FLAGS_OFFSET = 17;
const BLOCKS_OFFSET = 22;
const BLOCK_BYTES = 8;

/** A parsed value header. Shape on disk, big-endian: time 8, transaction 8, version 1, flags 1, reserved 4, blocks 2. */
export type ValueHeader = {
  readonly timestampNs: TimestampNs;
  /** LMDB transaction that wrote the entry last. Local meaning only. */
  readonly txnId: bigint;
  /** All eight bits as stored. */
  readonly flags: number;
  /** Offset of the application value: 24, or more with extension blocks. */
  readonly headerLength: number;
};

/** What {@link writeValueHeader} needs; numbers, because it runs per entry. */
export type ValueHeaderParts = {
  readonly timeHi: number;
  readonly timeLo: number;
  /** Exact up to 2^53. */
  readonly txnId: number;
  readonly flags: number;
  /** Adds one extension block of zeros (`header_extra_padding_block`, a test aid). */
  readonly paddingBlock?: boolean | undefined;
};

/**
 * Length of the value header at the start of `buf[start, end)`: 24 + 8 per extension block.
 *
 * Errors: VALUE_HEADER_INVALID if the value is shorter than its header or the version is not 0.
 * Source: PowerDNS/lightningstream, `lmdbenv/header/header.go`, `Parse` and `Skip`.
 */
export function headerLengthAt(buf: Uint8Array, start: number, end: number): number {
  if (end - start < VALUE_HEADER_BYTES) {
    throw invalid(
      `value of ${end - start} bytes is too short for a header of ${VALUE_HEADER_BYTES}`,
    );
  }
  if (buf[start + VERSION_OFFSET] !== 0) {
    throw invalid(
      `value header has version ${buf[start + VERSION_OFFSET]}, or the value has no header`,
    );
  }
  const blocks = ((buf[start + BLOCKS_OFFSET] ?? 0) << 8) | (buf[start + BLOCKS_OFFSET + 1] ?? 0);
  const length = VALUE_HEADER_BYTES + BLOCK_BYTES * blocks;
  if (end - start < length) {
    throw invalid(`value of ${end - start} bytes is too short for its header of ${length}`);
  }
  return length;
}

function invalid(message: string): SyncError {
  return new SyncError('VALUE_HEADER_INVALID', message, {
    hint: 'Check that the application writes LightningStream headers, or unset `schema_tracks_changes`.',
  });
}

/** Parses the header of a stored value. Errors: VALUE_HEADER_INVALID. */
export function parseValueHeader(value: Uint8Array): ValueHeader {
  const headerLength = headerLengthAt(value, 0, value.length);
  const view = new DataView(value.buffer, value.byteOffset, VALUE_HEADER_BYTES);
  return {
    timestampNs: view.getBigUint64(0),
    txnId: view.getBigUint64(8),
    flags: view.getUint8(FLAGS_OFFSET),
    headerLength,
  };
}

/** Writes a header at `offset` and returns its length; the caller leaves room for 32 bytes. Flags are masked. */
export function writeValueHeader(
  target: Uint8Array,
  offset: number,
  header: ValueHeaderParts,
): number {
  writeUint32(target, offset, header.timeHi);
  writeUint32(target, offset + 4, header.timeLo);
  writeUint32(target, offset + 8, Math.floor(header.txnId / 0x1_0000_0000));
  writeUint32(target, offset + 12, header.txnId >>> 0);
  target[offset + VERSION_OFFSET] = 0;
  target[offset + FLAGS_OFFSET] = header.flags & SYNC_FLAGS_MASK;
  writeUint32(target, offset + 18, 0);
  target[offset + BLOCKS_OFFSET] = 0;
  target[offset + BLOCKS_OFFSET + 1] = header.paddingBlock === true ? 1 : 0;
  if (header.paddingBlock !== true) {
    return VALUE_HEADER_BYTES;
  }
  target.fill(0, offset + VALUE_HEADER_BYTES, offset + VALUE_HEADER_BYTES + BLOCK_BYTES);
  return VALUE_HEADER_BYTES + BLOCK_BYTES;
}

function writeUint32(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value >>> 24;
  target[offset + 1] = value >>> 16;
  target[offset + 2] = value >>> 8;
  target[offset + 3] = value;
}
