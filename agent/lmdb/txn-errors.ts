import { errorText, SyncError } from '../../protocol/errors.ts';

/** What to do about an error of a transaction, by what LMDB or the system says of it. */
const TXN_HINTS: readonly (readonly [RegExp, string])[] = [
  [/No space|quota/i, 'Free disk space where the LMDB is; it is tried again.'],
  [
    /MDB_READERS_FULL/,
    'Find out who reads so much with `mdb_stat -r FILE`, and restart that program; it is tried again.',
  ],
  [/Too many open files/, 'Raise the limit of open files (LimitNOFILE=); it is tried again.'],
  [/MDB_MAP_RESIZED/, 'Nothing: the application has enlarged the map, and it is opened anew.'],
];

const OUT_OF_STEP = 'the lock table';

/**
 * LMDB's errors of transactions as ours. `firstFailure` is what the transaction's first failed call said: every call
 * after it fails with MDB_BAD_TXN, which says nothing of the reason.
 */
export function mapTxnError(
  error: unknown,
  { path, firstFailure }: { readonly path: string; readonly firstFailure?: string | undefined },
): unknown {
  if (error instanceof SyncError) {
    return error;
  }
  const said = errorText(error);
  const text = /MDB_BAD_TXN/.test(said) ? (firstFailure ?? said) : said;
  if (/MDB_MAP_FULL/.test(text)) {
    return new SyncError('MAP_FULL', `the map of ${path} is full`, {
      hint: 'Enlarge the map size in the application (PowerDNS: lmdb-map-size) and restart it.',
      retryable: true,
      cause: error,
    });
  }
  if (text.includes('MDB_DBS_FULL')) {
    return new SyncError('DBIS_FULL', `more DBIs of ${path} are needed than max_dbs allows`, {
      hint: 'Raise `options.max_dbs` of this database, and restart the agent.',
      retryable: true,
      cause: error,
    });
  }
  const hint = TXN_HINTS.find(([pattern]) => pattern.test(text))?.[1];
  if (hint !== undefined || /MDB_|Input\/output|Read-only|Permission/.test(text)) {
    return new SyncError('TRANSACTION_FAILED', `a transaction in ${path} failed: ${text}`, {
      hint: hint ?? 'Check disk space and permissions of the LMDB; it is tried again.',
      retryable: true,
      cause: error,
    });
  }
  return error;
}

/**
 * True where no transaction can begin any more until the environment is opened anew: the application's data lies
 * beyond our map, a meta page could not be written (LMDB then refuses everything, whatever became of the disk), or the
 * lock table is not that of the data file.
 */
export function needsReopen(error: unknown): boolean {
  const text = errorText(error);
  return /MDB_MAP_RESIZED|MDB_PANIC/.test(text) || text.startsWith(OUT_OF_STEP);
}

/** The error for a lock table that knows of another last transaction than the data file. */
export function lockTableOutOfStep(
  path: string,
  last: { readonly lockTable: number; readonly dataFile: number },
): SyncError {
  return new SyncError(
    'TRANSACTION_FAILED',
    `${OUT_OF_STEP} of ${path} is at transaction ${last.lockTable}, the data file at ${last.dataFile}: ` +
      'the data file was replaced beside its old "-lock" file, or a program writes without LMDB\'s locks (MDB_NOLOCK)',
    {
      hint: 'Stop every program that uses this LMDB, remove its "-lock" file, and start them again.',
      retryable: true,
    },
  );
}
