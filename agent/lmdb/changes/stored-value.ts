import type { EntryView } from '../../../protocol/snapshot.ts';
import {
  flagsAt,
  headerLengthAt,
  isValidValue,
  SYNC_FLAGS_MASK,
  timeHiAt,
  timeLoAt,
} from '../../../protocol/value-header.ts';

/** More malformed values than this are not counted one by one. */
const MAX_INVALID = 10_000;

/** Remembers a local value without a valid header. */
export function noteInvalid(invalid: Set<string>, dbiName: string, key: string): void {
  if (invalid.size < MAX_INVALID) {
    invalid.add(`${dbiName}\0${key}`);
  }
}

/** Shows a stored native value as an entry (without its key); false: it has no valid header. */
export function showValue(view: EntryView, buffer: Buffer, start: number, end: number): boolean {
  if (!isValidValue(buffer, start, end)) {
    return false;
  }
  view.buffer = buffer;
  view.valueStart = start + headerLengthAt(buffer, start, end);
  view.valueEnd = end;
  view.timeHi = timeHiAt(buffer, start);
  view.timeLo = timeLoAt(buffer, start);
  view.flags = flagsAt(buffer, start) & SYNC_FLAGS_MASK;
  return true;
}
