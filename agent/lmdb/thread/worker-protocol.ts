import type { ErrorCode } from '../../../protocol/errors.ts';
import { SyncError } from '../../../protocol/errors.ts';
import { handOverSpool, type Spool } from '../../spool.ts';
import type { LocalDatabase } from '../local-database.ts';

/** The calls that cross the thread. */
export type Method = keyof LocalDatabase;

export type Request = {
  readonly id: number;
  readonly method: Method;
  readonly args: readonly unknown[];
  /** Tokens to acknowledge first. */
  readonly acknowledged: readonly number[];
};

/** Errors lose their class on the way; a SyncError keeps what it is made of. */
export type CarriedError = {
  readonly message: string;
  readonly stack: string | undefined;
  readonly sync:
    | { readonly code: ErrorCode; readonly hint: string | undefined; readonly retryable: boolean }
    | undefined;
};

export type Response =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: CarriedError };

export function carryError(error: unknown): CarriedError {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  if (!(error instanceof SyncError)) {
    return { message, stack, sync: undefined };
  }
  const { code, hint, retryable } = error;
  return { message, stack, sync: { code, hint, retryable } };
}

export function uncarryError({ message, stack, sync }: CarriedError): Error {
  if (sync !== undefined) {
    return new SyncError(sync.code, message, { hint: sync.hint, retryable: sync.retryable });
  }
  const error = new Error(message);
  if (stack !== undefined) {
    error.stack = stack;
  }
  return error;
}

/** A spool as it goes to the other thread: its bytes in a buffer of their own, which moves instead of being copied. */
export type PackedSpool = { readonly spool: Spool; readonly transfer: ArrayBuffer[] };

/**
 * Prepares a spool for the other thread. `mayTake`: nobody here needs the bytes any more; otherwise (a merge may be
 * repeated) a copy goes. Without this a view would be sent with all of the buffer that it is a part of.
 */
export function packSpool(spool: Spool, { mayTake }: { readonly mayTake: boolean }): PackedSpool {
  if (spool.kind === 'file') {
    if (mayTake) {
      handOverSpool(spool);
    }
    return { spool, transfer: [] };
  }
  const { bytes } = spool;
  const isWhole = bytes.length === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer;
  const own = mayTake && isWhole ? bytes : new Uint8Array(bytes);
  return { spool: { kind: 'memory', bytes: own }, transfer: [own.buffer as ArrayBuffer] };
}
