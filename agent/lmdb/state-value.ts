import {
  VALUE_HEADER_BYTES,
  headerLengthAt,
  writeValueHeader,
} from '../../protocol/value-header.ts';
import type { WriteTxn } from './write-txn.ts';

/** Our own DBI beside the application's. Names that begin with `_sync` are never synced, by upstream neither. */
export const SYNC_STATE_DBI = '_sync_state';

/**
 * Keys of the version vector, one per stream. Every other key of `_sync_state` must sort before them: what is read
 * after each transaction ends where they begin.
 */
export const VECTOR_PREFIX = 'vector/';

/**
 * The value of a key of `_sync_state`. It has a value header like any other, so that a program which parses all DBIs
 * (upstream's sweeper does, private ones too) finds nothing malformed here.
 */
export function encodeState(txn: WriteTxn, text: string): Buffer {
  const value = Buffer.alloc(VALUE_HEADER_BYTES + Buffer.byteLength(text));
  const at = writeValueHeader(value, 0, { timeHi: 0, timeLo: 0, txnId: txn.txnId, flags: 0 });
  value.write(text, at, 'utf8');
  return value;
}

/** The text of such a value; undefined: it is damaged. */
export function stateText(buffer: Buffer, start: number, end: number): string | undefined {
  try {
    return buffer.toString('utf8', start + headerLengthAt(buffer, start, end), end);
  } catch {
    return undefined;
  }
}

/** A decimal number; undefined: it is none, or not exact. */
export function parseNumber(text: string | undefined): number | undefined {
  const number = text === undefined || !/^\d{1,16}$/.test(text) ? Number.NaN : Number(text);
  return Number.isSafeInteger(number) ? number : undefined;
}

/** A decimal number of up to 20 digits; undefined: it is none. */
export function parseBigint(text: string | undefined): bigint | undefined {
  return text !== undefined && /^\d{1,20}$/.test(text) ? BigInt(text) : undefined;
}
