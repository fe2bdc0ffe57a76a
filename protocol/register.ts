import type { EntryView } from './snapshot.ts';
import type { TimestampNs } from './time.ts';
import { FLAG_DELETED, headerLengthAt, isDeletedAt, timeHiAt, timeLoAt } from './value-header.ts';

/** A last-writer-wins register: the value of one key. Well-formed: a deleted one has an empty value. */
export type Register = {
  readonly timestampNs: TimestampNs;
  /** The application value, without header. */
  readonly value: Uint8Array;
  readonly deleted: boolean;
};

/**
 * Merges two registers of the same key; returns the winner, one of its arguments.
 *
 * The later timestamp wins. On a tie the bytewise lower value wins (a prefix is lower), so all instances pick the same side
 * in any order of arrival; an empty value is lowest, so a tombstone beats every non-empty value. Commutative, associative
 * and idempotent for well-formed registers.
 *
 * Source: PowerDNS/lightningstream, `syncer/iterators.go`, `NativeIterator.Merge`.
 */
export function mergeRegisters(local: Register, remote: Register): Register {
  if (local.timestampNs !== remote.timestampNs) {
    return local.timestampNs > remote.timestampNs ? local : remote;
  }
  const order = Buffer.compare(local.value, remote.value);
  if (order !== 0) {
    return order < 0 ? local : remote;
  }
  // Same time, both empty: upstream keeps the local side, so an empty live value and
  // a tombstone would never converge; here the tombstone wins.
  return remote.deleted && !local.deleted && remote.value.length === 0 ? remote : local;
}

/**
 * True if the incoming entry wins over a stored native value (header and application value): {@link mergeRegisters}
 * without a bigint or an object per entry. A zero-length stored value counts as absent. The incoming value is
 * compared as received, before a deletion empties it; the stored deleted flag matters only between two empty values.
 *
 * Errors: VALUE_HEADER_INVALID for a stored value without a valid header.
 */
export function incomingWins(
  stored: Uint8Array,
  storedStart: number,
  storedEnd: number,
  entry: EntryView,
): boolean {
  if (storedStart === storedEnd) {
    return true;
  }
  const valueStart = storedStart + headerLengthAt(stored, storedStart, storedEnd);
  const timeHi = timeHiAt(stored, storedStart);
  if (timeHi !== entry.timeHi) {
    return entry.timeHi > timeHi;
  }
  const timeLo = timeLoAt(stored, storedStart);
  if (timeLo !== entry.timeLo) {
    return entry.timeLo > timeLo;
  }
  const order = compareRanges(stored, valueStart, storedEnd, entry);
  if (order !== 0) {
    return order > 0;
  }
  const isStoredDeleted = isDeletedAt(stored, storedStart);
  return !isStoredDeleted && (entry.flags & FLAG_DELETED) !== 0 && valueStart === storedEnd;
}

/** Up to here a byte loop beats `Buffer.compare` of two views: 20 bytes cost 21 ns against 130 ns (Node 20). */
const LOOP_COMPARE_BYTES = 128;

/** Bytewise order of a stored value and the entry's. */
function compareRanges(stored: Uint8Array, start: number, end: number, entry: EntryView): number {
  const { buffer, valueStart, valueEnd } = entry;
  const shared = Math.min(end - start, valueEnd - valueStart);
  if (shared > LOOP_COMPARE_BYTES) {
    return Buffer.compare(stored.subarray(start, end), buffer.subarray(valueStart, valueEnd));
  }
  for (let i = 0; i < shared; i++) {
    const difference = (stored[start + i] ?? 0) - (buffer[valueStart + i] ?? 0);
    if (difference !== 0) {
      return difference;
    }
  }
  return end - start - (valueEnd - valueStart);
}
