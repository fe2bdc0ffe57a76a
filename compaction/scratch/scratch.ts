/** A temporary file of the compactor: written once, then read as often as needed. */
export interface ScratchFile {
  /** Bytes written so far. */
  readonly sizeBytes: number;
  write(chunk: Uint8Array): Promise<void>;
  /** Ends the writing. */
  finish(): Promise<void>;
  /** All its bytes, from the start. */
  open(): AsyncIterable<Uint8Array>;
  /** Frees its space. Idempotent. */
  remove(): Promise<void>;
}

/**
 * Where a fold keeps what does not fit in memory: compressed objects that were downloaded, sorted runs, and
 * the base before it is stored. What is left behind by a crash must be free again at the next start.
 *
 * Errors: SPOOL_FAILED where a file cannot be written, most often because there is no room.
 */
export interface Scratch {
  create(): Promise<ScratchFile>;
  /** Bytes that can still be written, as far as that is known; infinite where it is not. */
  freeBytes(): Promise<number>;
}
