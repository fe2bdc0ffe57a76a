import fs from 'node:fs';
import { dirname } from 'node:path';
import * as lmdb from 'lmdb';
import type { RootDatabase } from 'lmdb';
import { errorText, SyncError } from '../../protocol/errors.ts';
import { dataPathOf, requireDataFile, requireKindOfPath } from './data-path.ts';
import { FileWatch } from './file-watch.ts';
import { DataFile, type Meta } from './pages/data-file.ts';
import { ThreadActivity } from './thread-activity.ts';
import { lockTableOutOfStep, mapTxnError } from './txn-errors.ts';
import {
  BindingWriteTxn,
  type BindingStore,
  type OpenHandles,
  type WriteTxn,
} from './write-txn.ts';

export type { PackedPut, WriteTxn } from './write-txn.ts';

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
  /** `putMany`: only our own build has it. */
  readonly env: { readonly putMany?: unknown };
};

type Opened = {
  readonly root: Root;
  readonly file: DataFile;
  readonly mapSizeBytes: number;
  /** Tells whether `file` is still what is at the path. */
  readonly watch: FileWatch;
};

/** What a new file gets, as upstream's does; LMDB's own default of 1 MiB is full at once. */
const GIB = 1024 ** 3;
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
  /** undefined: closed, or closed to be opened anew, which failed. */
  #opened: Opened | undefined;
  /** Of the file that was open last. */
  #lastWatch: FileWatch | undefined;
  readonly #handles: OpenHandles = new Map();
  readonly #activity: ThreadActivity | undefined;

  private constructor(options: EnvironmentOptions, dataPath: string) {
    this.#options = options;
    this.dataPath = dataPath;
    this.#activity = options.activity && new ThreadActivity(options.activity);
    this.#opened = this.#lockWaited(() => openRoot(options, dataPath));
  }

  /** Opens or creates it. Takes the write lock for a moment. Errors: ENVIRONMENT_UNREADABLE, ADDON_FORMAT_WRONG. */
  static open(options: EnvironmentOptions): Environment {
    requireOldFormatAddon();
    const dataPath = dataPathOf(options);
    prepareFiles(options, dataPath);
    return new Environment(options, dataPath);
  }

  /** The data file, for the page reader. Changes when the environment is reopened. Errors: TRANSACTION_FAILED. */
  get file(): DataFile {
    return this.#require().file;
  }

  /** False between a close and an opening that succeeds. */
  get isOpen(): boolean {
    return this.#opened !== undefined;
  }

  /**
   * Errors: ENVIRONMENT_REPLACED where the file that is open is no longer the one at the path, or was written over.
   * One call of the file system.
   */
  requireAtPath(): void {
    this.#require().watch.requireSame();
  }

  /**
   * Errors: TRANSACTION_FAILED where the lock table belongs to another data file. Waits for the write lock, because
   * only inside it nothing moves.
   */
  requireLockTable(): void {
    const opened = this.#require();
    try {
      this.#lockWaited(() =>
        opened.root.transactionSync(() => {
          this.#writeTxn(opened);
          throw new NothingWritten();
        }),
      );
    } catch (error) {
      if (!(error instanceof NothingWritten)) {
        throw mapTxnError(error, { path: this.dataPath });
      }
    }
  }

  /** A fresh read transaction, and the newest committed state, which it pins. */
  beginRead(): ReadTxn {
    const { root, file } = this.#require();
    // Without the first reset the binding hands out the transaction of an earlier call in this turn; without the
    // second its next reset (a timer) would renew this one under us.
    root.resetReadTxn();
    let txn: { done(): void };
    try {
      txn = root.useReadTransaction();
    } catch (error) {
      throw mapTxnError(error, { path: this.dataPath });
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
      return { meta: file.readMeta(), close };
    } catch (error) {
      close();
      throw error;
    }
  }

  /**
   * Runs `work` in a write transaction, commits and syncs to disk; waits (and blocks this thread) for the lock. An
   * error aborts the whole. Errors: MAP_FULL, DBIS_FULL, TRANSACTION_FAILED (all retryable), ENVIRONMENT_REPLACED,
   * whatever `work` throws.
   */
  write<T>(work: (txn: WriteTxn) => T): WriteOutcome<T> {
    const opened = this.#require();
    const { root, watch } = opened;
    watch.requireSame();
    const askedMs = performance.now();
    this.#activity?.askedForLock();
    let lockedMs = askedMs;
    let txn: BindingWriteTxn | undefined;
    try {
      const result = root.transactionSync(() => {
        lockedMs = performance.now();
        this.#activity?.gotLock();
        txn = this.#writeTxn(opened);
        const done = work(txn);
        // Waiting for the lock, and the work, may have taken long.
        watch.requireSame();
        return done;
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
      throw mapTxnError(error, { path: this.dataPath, firstFailure: txn?.firstFailure });
    } finally {
      this.#activity?.gotLock();
    }
  }

  /** True when the application has enlarged the map since we opened it: {@link reopen} before the next write. */
  mapGrew(meta: Meta): boolean {
    return meta.mapSizeBytes > this.#require().mapSizeBytes;
  }

  /**
   * Closes, unless it is, and opens again, with the size that the map has now. All read transactions must be closed
   * before. It stays closed where that fails, and the call may be repeated. Errors: ENVIRONMENT_REPLACED,
   * ENVIRONMENT_UNREADABLE.
   */
  async reopen(): Promise<void> {
    const { watch } = this.#opened ?? { watch: this.#lastWatch };
    this.#lastWatch = watch;
    await this.close();
    // Not before it is certain that LMDB would open the same file, and make no new one.
    watch?.requireSame();
    const opened = this.#lockWaited(() => openRoot(this.#options, this.dataPath));
    this.#opened = opened;
    if (watch !== undefined && !watch.isSame(opened.watch)) {
      await this.close();
      throw watch.replaced();
    }
  }

  /** Reader slots in use and there, as the lock table has them. */
  readers(): { used: number; max: number } {
    const { root } = this.#require();
    const lines = root.readerList().split('\n');
    const used = lines.filter((line) => /^\s*\d+ /.test(line)).length;
    const { maxReaders } = root.getStats() as { maxReaders?: number };
    return { used, max: maxReaders ?? 126 };
  }

  async close(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    this.#handles.clear();
    opened?.file.close();
    await opened?.root.close();
  }

  /** Runs what takes the write lock for a moment; others see meanwhile that this thread waits for it. */
  #lockWaited<T>(work: () => T): T {
    this.#activity?.askedForLock();
    try {
      return work();
    } finally {
      this.#activity?.gotLock();
    }
  }

  #require(): Opened {
    if (this.#opened !== undefined) {
      return this.#opened;
    }
    throw new SyncError('TRANSACTION_FAILED', `${this.dataPath} is not open`, {
      hint: 'Nothing: it is opened again with the next try.',
      retryable: true,
    });
  }

  #writeTxn({ root, file }: Opened): BindingWriteTxn {
    const txnId = root.getWriteTxnId();
    if (txnId === 0) {
      // A transaction that did not begin; only an addon without our changes goes on without an error.
      throw otherAddon();
    }
    const committed = file.readMeta();
    if (txnId !== committed.txnId + 1) {
      // LMDB would take the state before the newest one, or none, and write over the newest.
      throw lockTableOutOfStep(this.dataPath, { lockTable: txnId - 1, dataFile: committed.txnId });
    }
    return new BindingWriteTxn({
      txnId,
      committed,
      file,
      handles: this.#handles,
      openStore: (name, options) =>
        root.openDB({ ...BINARY, ...options, name }) as unknown as BindingStore,
    });
  }
}

/** Ends a transaction that was only begun. */
class NothingWritten extends Error {}

function openRoot(options: EnvironmentOptions, dataPath: string): Opened {
  const existing = fs.statSync(dataPath, { throwIfNoEntry: false });
  let mapSizeBytes: number;
  if (existing !== undefined && existing.size > 0) {
    using file = DataFile.open(dataPath);
    ({ mapSizeBytes } = file.readMeta());
  } else {
    mapSizeBytes = options.mapSizeBytes || GIB;
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
  let file: DataFile | undefined;
  try {
    if (typeof root.env.putMany !== 'function') {
      throw otherAddon();
    }
    // After the binding: where that has made the file writable (overlayfs), it is another one from then on.
    file = DataFile.open(dataPath);
    return { root, file, mapSizeBytes, watch: new FileWatch(dataPath, file.fd) };
  } catch (error) {
    file?.close();
    void root.close();
    throw error;
  }
}

function otherAddon(): SyncError {
  return new SyncError('ADDON_FORMAT_WRONG', 'the lmdb addon is not the one of this version', {
    hint: 'Run npm ci again: it builds the right one.',
  });
}

/** Makes what `create` allows to be made, with the configured modes. */
function prepareFiles(options: EnvironmentOptions, dataPath: string): void {
  if (!options.create) {
    requireDataFile(options);
    return;
  }
  requireKindOfPath(options);
  const folder = dirname(dataPath);
  try {
    if (!fs.existsSync(folder)) {
      fs.mkdirSync(folder, { recursive: true, mode: options.dirMask });
    }
    if (!fs.existsSync(dataPath)) {
      // LMDB takes an empty file for a new one; made here it gets the configured mode.
      fs.closeSync(fs.openSync(dataPath, 'a', options.fileMask));
    }
  } catch (error) {
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
