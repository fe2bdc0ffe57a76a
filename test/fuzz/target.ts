import { SyncError, type ErrorCode } from '../../protocol/errors.ts';

/** Something that takes bytes from outside. */
export type FuzzTarget = {
  readonly name: string;
  /** Longer inputs are cut. */
  readonly maxBytes: number;
  /** Where mutations start from, besides the stored corpus. */
  readonly seeds: () => readonly Uint8Array[];
  /** Words of the format, which mutations put in. */
  readonly dictionary: readonly Uint8Array[];
  /** Works on one input; throws where something is as it must not be. */
  readonly run: (input: Uint8Array) => void | Promise<void>;
};

/** What a work gives, or undefined where it refuses the input by one of these codes; anything else that it throws is a finding. */
export function refusedOr<T>(codes: readonly ErrorCode[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof SyncError && codes.includes(error.code)) {
      return undefined;
    }
    throw error;
  }
}

/** Latin1 bytes of texts: every byte is one character. */
export function words(...texts: readonly string[]): Uint8Array[] {
  return texts.map((text) => Buffer.from(text, 'latin1'));
}
