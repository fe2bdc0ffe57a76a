/**
 * Every operating error has one of these codes; a bug is a failed `assert` instead.
 * The doc comment of each says when it happens. Users see message and hint, not the code.
 */
export type ErrorCode =
  /** A configuration file, flag or environment variable that cannot be used as it is. */
  | 'CONFIG_INVALID'
  /** An object's bytes are damaged: gzip, protobuf, or a length that cannot be. Never applied, quarantined. */
  | 'SNAPSHOT_CORRUPT'
  /** An object that needs a newer reader (compatVersion), or an older format than is supported. */
  | 'SNAPSHOT_INCOMPATIBLE'
  /** An object whose contents do not fit this database: transform, DBI flags, key size. */
  | 'SNAPSHOT_REJECTED'
  /** An object with more DBIs than `max_dbs` lets this LMDB have open. Merged after a restart with a larger one. */
  | 'SNAPSHOT_DBIS_EXCEED'
  /** A value in the local LMDB that has no valid value header. */
  | 'VALUE_HEADER_INVALID'
  /** The LMDB file is missing, unreadable, of another format, or damaged. */
  | 'ENVIRONMENT_UNREADABLE'
  /** The loaded LMDB addon writes another data format than LMDB 0.9's v1. */
  | 'ADDON_FORMAT_WRONG'
  /** The LMDB map is full: the application must enlarge it. Retried. */
  | 'MAP_FULL'
  /** More DBIs would be open than `max_dbs` allows. Retried; a restart with a larger one ends it. */
  | 'DBIS_FULL'
  /** A write transaction failed (disk full, read-only file, I/O error). Retried. */
  | 'TRANSACTION_FAILED'
  /** The storage answered with an error or not at all. */
  | 'STORAGE_FAILED'
  /** The storage refuses these credentials, this bucket, or this action. */
  | 'STORAGE_DENIED'
  /** A name that no object of ours can have. */
  | 'OBJECT_NAME_INVALID'
  /** The manifest or a notice cannot be parsed. */
  | 'MESSAGE_INVALID'
  /** What is to run after merges failed: a command, or a request to PowerDNS. Sync goes on. */
  | 'HOOK_FAILED'
  /** A command was used in a way it does not allow. Exit code 2. */
  | 'USAGE'
  /** `--timeout` passed. Exit code 75. */
  | 'TIMED_OUT';

export type SyncErrorOptions = {
  /** One imperative sentence: what the operator should do. */
  readonly hint?: string | undefined;
  /** True when the same call may succeed later without anybody's help. */
  readonly retryable?: boolean | undefined;
  readonly cause?: unknown;
};

/** An operating error: lower case message (what failed, the value, what was allowed), a code and a hint. */
export class SyncError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options: SyncErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SyncError';
    this.code = code;
    this.hint = options.hint;
    this.retryable = options.retryable ?? false;
  }
}

/** The text of anything thrown, on one line. */
export function errorText(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, ' ');
}

/** True for the rejection that an aborted `AbortSignal` causes. */
export function isAbortError(error: unknown): boolean {
  return error instanceof Error && (error.name === 'AbortError' || error.name === 'TimeoutError');
}
