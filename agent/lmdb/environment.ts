import fs from 'node:fs';
import { dirname, join } from 'node:path';
import * as lmdb from 'lmdb';
import type { RootDatabase } from 'lmdb';
import { errorText, SyncError } from '../../protocol/errors.ts';
import { DataFile, type Meta } from './pages/data-file.ts';
import { ThreadActivity } from './thread-activity.ts';
import {
  BindingWriteTxn,
  type BindingStore,
  type OpenHandles,
  type WriteTxn,
} from './write-txn.ts';

export type { WriteTxn } from './write-txn.ts';

/** How an environment is opened. */
export type EnvironmentOptions = {
  readonly path: string;
  readonly noSubdir: boolean;
  readonly create: boolean;
  readonly dirMask: number;
  readonly fileMask: number;
  /** For a file that is created; 0 = default. */
  readonly mapSizeBytes: number;
  readonly maxDbs: number;
  /** Told when this thread waits for the write lock; see `ThreadActivity`. */
  readonly activity?: SharedArrayBuffer | undefined;
};

/** A read transaction that pins the pages of `meta`'s state, and of the states before it that are pinned already. */
export type ReadTxn = {
  /** Read after the transaction was opened: at least as new as it. */
  readonly meta: Meta;
  close(): void;
};

/** What {@link Environment.write} returns after the commit. */
export type WriteOutcome<T> = {
  readonly result: T;
  /** undefined: nothing was written, so that LMDB gives this id to the next transaction, whosever that is. */
  readonly txnId: number | undefined;
  readonly lockWaitMs: number;
  readonly lockHeldMs: number;
};

/** The binding's own handle has what its types leave out. */
type Root = RootDatabase<Buffer, Buffer> & {
  resetReadTxn(): void;
  useReadTransaction(): { done(): void };
  getWriteTxnId(): number;
  readerList(): string;
};

const GIB = 1024 ** 3;
/** LMDB's own default, which upstream gets where it opens a missing file without `create`. */
const LMDB_DEFAULT_MAP_BYTES = 1024 ** 2;
/** LMDB counts as the old data format up to 0.9.89. */
const FIRST_NEW_FORMAT_PATCH = 90;
const BINARY = { keyEncoding: 'binary', encoding: 'binary', cache: false } as const;

/**
 * One LMDB environment, opened through npm `lmdb` (the only place that sees it). All reads of data go through
 * {@link file}; the binding is there for read transactions (which pin pages) and for write transactions.
 *
 * The map is opened with exactly the size the file has: a larger one would be written to the file by our next commit.
 */
export class Environment {
  readonly dataPath: string;
  readonly #options: EnvironmentOptions;
  #root: Root;
  #file: DataFile;
  #mapSizeBytes: number;
  readonly #handles: OpenHandles = new Map();
  readonly #activity: ThreadActivity | undefined;

  private constructor(options: EnvironmentOptions, dataPath: string) {
    this.#options = options;
    this.dataPath = dataPath;
    this.#activity = options.activity && new ThreadActivity(options.activity);
    // Opening takes the lock for a moment, too.
    this.#activity?.askedForLock();
    const opened = openRoot(options, dataPath);
    this.#activity?.gotLock();
    this.#root = opened.root;
    this.#file = opened.file;
    this.#mapSizeBytes = opened.mapSizeBytes;
  }

  /** Opens or creates it. Takes the write lock for a moment. Errors: ENVIRONMENT_UNREADABLE, ADDON_FORMAT_WRONG. */
  static open(options: EnvironmentOptions): Environment {
    requireOldFormatAddon();
    const dataPath = options.noSubdir ? options.path : join(options.path, 'data.mdb');
    prepareFiles(options, dataPath);
    return new Environment(options, dataPath);
  }

  /** The data file, for the page reader. Changes when the environment is reopened. */
  get file(): DataFile {
    return this.#file;
  }

  /** A fresh read transaction, and the newest committed state, which it pins. */
  beginRead(): ReadTxn {
    const root = this.#root;
    // Without the first reset the binding hands out the transaction of an earlier call in this turn; without the
    // second its next reset (a timer) would renew this one under us.
    root.resetReadTxn();
    let txn: { done(): void };
    try {
      txn = root.useReadTransaction();
    } catch (error) {
      throw mapTxnError(error, this.dataPath);
    }
    root.resetReadTxn();
    let open = true;
    const close = () => {
      if (open) {
        txn.done();
      }
      open = false;
    };
    try {
      return { meta: this.#file.readMeta(), close };
    } catch (error) {
      close();
      throw error;
    }
  }

  /**
   * Runs `work` in a write transaction, commits and syncs to disk; waits (and blocks this thread) for the lock. An
   * error aborts the whole. Errors: MAP_FULL, DBIS_FULL, TRANSACTION_FAILED (all retryable), whatever `work` throws.
   */
  write<T>(work: (txn: WriteTxn) => T): WriteOutcome<T> {
    const root = this.#root;
    const askedMs = performance.now();
    this.#activity?.askedForLock();
    let lockedMs = askedMs;
    let txn: BindingWriteTxn | undefined;
    try {
      const result = root.transactionSync(() => {
        lockedMs = performance.now();
        this.#activity?.gotLock();
        txn = this.#writeTxn();
        return work(txn);
      });
      const endMs = performance.now();
      return {
        result,
        txnId: txn?.wrote === true ? txn.txnId : undefined,
        lockWaitMs: lockedMs - askedMs,
        lockHeldMs: endMs - lockedMs,
      };
    } catch (error) {
      // DBI handles opened in an aborted transaction are closed with it.
      for (const name of txn?.openedHere ?? []) {
        this.#handles.delete(name);
      }
      throw mapTxnError(error, this.dataPath);
    } finally {
      this.#activity?.gotLock();
    }
  }

  /** True when the application has enlarged the map since we opened it: {@link reopen} before the next write. */
  mapGrew(meta: Meta): boolean {
    return meta.mapSizeBytes > this.#mapSizeBytes;
  }

  /** Closes and opens again, with the size that the map has now. All read transactions must be closed before. */
  async reopen(): Promise<void> {
    await this.close();
    const opened = openRoot(this.#options, this.dataPath);
    this.#root = opened.root;
    this.#file = opened.file;
    this.#mapSizeBytes = opened.mapSizeBytes;
  }

  /** Reader slots in use and there, as the lock table has them. */
  readers(): { used: number; max: number } {
    const lines = this.#root.readerList().split('\n');
    const used = lines.filter((line) => /^\s*\d+ /.test(line)).length;
    const { maxReaders } = this.#root.getStats() as { maxReaders?: number };
    return { used, max: maxReaders ?? 126 };
  }

  async close(): Promise<void> {
    this.#handles.clear();
    this.#file.close();
    await this.#root.close();
  }

  #writeTxn(): BindingWriteTxn {
    const root = this.#root;
    const txnId = root.getWriteTxnId();
    if (txnId === 0) {
      // A transaction that did not begin; only an addon without our changes goes on without an error.
      throw new SyncError('ADDON_FORMAT_WRONG', 'the lmdb addon is not the one of this version', {
        hint: 'Run npm ci again: it builds the right one.',
      });
    }
    return new BindingWriteTxn({
      txnId,
      committed: this.#file.readMeta(),
      file: this.#file,
      handles: this.#handles,
      openStore: (name, options) =>
        root.openDB({ ...BINARY, ...options, name }) as unknown as BindingStore,
    });
  }
}

/**
 * True where no transaction can begin any more until the environment is opened anew: the application's data lies
 * beyond our map, or a meta page could not be written (LMDB then refuses everything, whatever became of the disk).
 */
export function needsReopen(error: unknown): boolean {
  return /MDB_MAP_RESIZED|MDB_PANIC/.test(errorText(error));
}

function openRoot(
  options: EnvironmentOptions,
  dataPath: string,
): { root: Root; file: DataFile; mapSizeBytes: number } {
  const existing = fs.statSync(dataPath, { throwIfNoEntry: false });
  let mapSizeBytes: number;
  if (existing !== undefined && existing.size > 0) {
    using file = DataFile.open(dataPath);
    ({ mapSizeBytes } = file.readMeta());
  } else {
    mapSizeBytes = options.mapSizeBytes || (options.create ? GIB : LMDB_DEFAULT_MAP_BYTES);
  }
  let root: Root;
  try {
    root = lmdb.open({
      path: options.path,
      noSubdir: options.noSubdir,
      overlappingSync: false,
      mapSize: mapSizeBytes,
      maxDbs: options.maxDbs,
      ...BINARY,
    }) as unknown as Root;
  } catch (cause) {
    throw new SyncError('ENVIRONMENT_UNREADABLE', `cannot open ${dataPath}: ${errorText(cause)}`, {
      hint: 'Check that this user may read and write the file, its "-lock" file and its folder.',
      cause,
    });
  }
  return { root, file: DataFile.open(dataPath), mapSizeBytes };
}

/** Makes what `create` and `no_subdir` allow to be made, with the configured modes. */
function prepareFiles(options: EnvironmentOptions, dataPath: string): void {
  const folder = dirname(dataPath);
  try {
    if (!fs.existsSync(folder)) {
      if (!options.create) {
        throw new SyncError(
          'ENVIRONMENT_UNREADABLE',
          `the folder ${folder} of the LMDB is missing`,
          {
            hint: 'Start the application first, or set `options.create: true`.',
          },
        );
      }
      fs.mkdirSync(folder, { recursive: true, mode: options.dirMask });
    }
    if (!fs.existsSync(dataPath)) {
      if (!options.create && !options.noSubdir) {
        throw new SyncError('ENVIRONMENT_UNREADABLE', `there is no LMDB at ${options.path}`, {
          hint: 'Start the application first, or set `options.create: true`.',
        });
      }
      // LMDB takes an empty file for a new one; made here it gets the configured mode.
      fs.closeSync(fs.openSync(dataPath, 'a', options.fileMask));
    }
  } catch (error) {
    if (error instanceof SyncError) {
      throw error;
    }
    throw new SyncError(
      'ENVIRONMENT_UNREADABLE',
      `cannot create ${dataPath}: ${errorText(error)}`,
      {
        hint: 'Check the path and that this user may write there.',
        cause: error,
      },
    );
  }
}

function requireOldFormatAddon(): void {
  // The types leave it out.
  const { major, minor, patch } = (lmdb as unknown as { version: Record<string, number> }).version;
  if (major === 0 && minor === 9 && (patch ?? 0) < FIRST_NEW_FORMAT_PATCH) {
    return;
  }
  throw new SyncError(
    'ADDON_FORMAT_WRONG',
    `the loaded lmdb addon is LMDB ${major}.${minor}.${patch}, which writes a data format that PowerDNS cannot read`,
    {
      hint: 'Run npm ci again with a C++ compiler installed (apt-get install g++): it builds the right one.',
    },
  );
}

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

/** LMDB's errors of transactions as ours. */
function mapTxnError(error: unknown, path: string): unknown {
  if (error instanceof SyncError) {
    return error;
  }
  const text = errorText(error);
  if (/MDB_MAP_FULL|MDB_BAD_TXN/.test(text)) {
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
