import type { KeyOrder } from '../../../protocol/key-order.ts';
import type { EntryView } from '../../../protocol/snapshot.ts';
import {
  BLOCK_BYTES,
  FLAG_DELETED,
  VALUE_HEADER_BYTES,
  writeValueHeader,
} from '../../../protocol/value-header.ts';
import type { PackedEntries, PackedRow } from '../packed-entries.ts';

/** Up to here a byte loop is the cheaper copy: `set` makes a view first. */
const LOOP_COPY_BYTES = 96;

/**
 * Adds an entry of an object as the native value that is to be stored, without a transaction's id. Returns where in
 * `writes.row` it is. Hot: it makes no objects.
 */
export function packEntry(
  writes: PackedEntries,
  dbiName: string,
  entry: EntryView,
  paddingBlock: boolean,
): number {
  const { buffer, keyStart, keyEnd, valueStart, valueEnd, flags } = entry;
  const keyBytes = keyEnd - keyStart;
  const at = writes.append(dbiName, keyBytes, nativeValueBytes(entry, paddingBlock));
  const row = writes.row!;
  const { bytes } = row;
  const target = row.keyStart(at);
  copyBytes(bytes, target, buffer, keyStart, keyEnd);
  const header = { timeHi: entry.timeHi, timeLo: entry.timeLo, txnId: 0, flags, paddingBlock };
  const headerBytes = writeValueHeader(bytes, target + keyBytes, header);
  if ((flags & FLAG_DELETED) === 0) {
    copyBytes(bytes, target + keyBytes + headerBytes, buffer, valueStart, valueEnd);
  }
  return at;
}

/** Bytes of an entry's value with its header, as it is stored. */
export function nativeValueBytes(entry: EntryView, paddingBlock: boolean): number {
  const isDeleted = (entry.flags & FLAG_DELETED) !== 0;
  const headerBytes = VALUE_HEADER_BYTES + (paddingBlock ? BLOCK_BYTES : 0);
  return headerBytes + (isDeleted ? 0 : entry.valueEnd - entry.valueStart);
}

/** True if the key of a packed entry is below that of an entry. */
export function isKeyBelow(row: PackedRow, at: number, entry: EntryView, order: KeyOrder): boolean {
  const start = row.keyStart(at);
  const { buffer, keyStart, keyEnd } = entry;
  return order(row.bytes, start, start + row.keyBytes(at), buffer, keyStart, keyEnd) < 0;
}

function copyBytes(
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  start: number,
  end: number,
): void {
  if (end - start > LOOP_COPY_BYTES) {
    target.set(source.subarray(start, end), at);
    return;
  }
  for (let from = start, to = at; from < end; from += 1, to += 1) {
    target[to] = source[from]!;
  }
}
