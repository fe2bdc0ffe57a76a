import assert from 'node:assert';
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import * as lmdb from 'lmdb';
import type { Database, RootDatabase } from 'lmdb';
import { errorText, SyncError } from '../../protocol/errors.ts';
import { DataFile, listDbis, type DbRecord, type Meta } from './page.ts';
import {
  MDB_DUPFIXED,
  MDB_DUPSORT,
  MDB_INTEGERDUP,
  MDB_INTEGERKEY,
  MDB_REVERSEDUP,
  MDB_REVERSEKEY,
} from './page-layout.ts';

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
};

/** A read transaction that pins the pages of `meta`'s state, and of the states before it that are pinned already. */
export type ReadTxn = {
  /** Read after the transaction was opened: at least as new as it. */
  readonly meta: Meta;
  close(): void;
};

/** Inside {@link Environment.write}. Nobody else can commit meanwhile: `committed` stays the newest state. */
export interface WriteTxn {
  readonly txnId: number;
  readonly committed: Meta;
  /** The DBI must exist, or have been created in this transaction. Bytes are copied. */
  put(dbiName: string, key: Uint8Array, value: Uint8Array): void;
  /** Removes a key; false: it was not there. */
  remove(dbiName: string, key: Uint8Array): boolean;
  /** Removes one value of a key of an MDB_DUPSORT DBI; false: it was not there. */
  removeValue(dbiName: string, key: Uint8Array, value: Uint8Array): boolean;
  /** The flags of a DBI, be it created in this transaction; undefined: there is none. */
  dbiFlags(dbiName: string): number | undefined;
  /** Creates a DBI with these persistent flags, unless it exists. */
  createDbi(dbiName: string, flags: number): void;
}

/** What {@link Environment.write} returns after the commit. */
export type WriteOutcome<T> = {
  readonly result: T;
  /** undefined: nothing was written, so that LMDB gives this id to the next transaction, whosever that is. */
  readonly txnId: number | undefined;
  readonly lockWaitMs: number;
  readonly lockHeldMs: number;
};

/** What LMDB keeps of the flags that a DBI is created with. */
const PERSISTENT_FLAGS =
  MDB_REVERSEKEY | MDB_DUPSORT | MDB_INTEGERKEY | MDB_DUPFIXED | MDB_INTEGERDUP | MDB_REVERSEDUP;

type Store = Database<Buffer, Buffer>;
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
  /** Open handles, each with the flags of the DBI that it was opened for. */
  readonly #stores = new Map<string, { readonly store: Store; readonly flags: number }>();

  private constructor(options: EnvironmentOptions, dataPath: string) {
    this.#options = options;
    this.dataPath = dataPath;
    const opened = openRoot(options, dataPath);
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
      if (open) txn.done();
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
   * error aborts the whole. Errors: MAP_FULL, TRANSACTION_FAILED (both retryable), whatever `work` throws.
   */
  write<T>(work: (txn: WriteTxn) => T): WriteOutcome<T> {
    const root = this.#root;
    const openedHere: string[] = [];
    const writes = { count: 0 };
    const askedMs = performance.now();
    let lockedMs = askedMs;
    let txnId = 0;
    try {
      const result = root.transactionSync(() => {
        lockedMs = performance.now();
        txnId = root.getWriteTxnId();
        if (txnId === 0) throw new BeginFailed();
        const committed = this.#file.readMeta();
        return work(this.#writeTxn({ txnId, committed, openedHere, writes }));
      });
      const endMs = performance.now();
      const written = writes.count > 0 ? txnId : undefined;
      return {
        result,
        txnId: written,
        lockWaitMs: lockedMs - askedMs,
        lockHeldMs: endMs - lockedMs,
      };
    } catch (error) {
      // DBI handles opened in an aborted transaction are closed with it.
      for (const name of openedHere) this.#stores.delete(name);
      throw mapTxnError(error, this.dataPath);
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
    this.#stores.clear();
    this.#file.close();
    await this.#root.close();
  }

  #writeTxn(at: {
    txnId: number;
    committed: Meta;
    openedHere: string[];
    writes: { count: number };
  }): WriteTxn {
    const { txnId, committed, openedHere, writes } = at;
    let records: Map<string, DbRecord> | undefined;
    const dbis = () => (records ??= new Map(listDbis(this.#file, committed)));
    const open = (name: string, options: object, flags: number): Store => {
      const store: Store = this.#root.openDB({ ...BINARY, ...options, name: dbiNameText(name) });
      openedHere.push(name);
      this.#stores.set(name, { store, flags });
      return store;
    };
    /**
     * The open handle, if it is still one of the DBI of that name. LMDB gives out a handle as long as nobody closes it,
     * but what is put through one whose DBI another process dropped is ignored without an error.
     */
    const findOpen = (name: string): Store | undefined => {
      const known = this.#stores.get(name);
      if (known === undefined || dbis().get(name)?.flags === known.flags) return known?.store;
      (known.store as unknown as { db: { close(): void } }).db.close();
      this.#stores.delete(name);
      return undefined;
    };
    const store = (name: string): Store => {
      const flags = dbis().get(name)?.flags;
      assert(flags !== undefined, `DBI ${name} exists or was created before`);
      return findOpen(name) ?? open(name, { dupSort: (flags & MDB_DUPSORT) !== 0 }, flags);
    };
    return {
      txnId,
      committed,
      put: (name, key, value) => {
        writes.count += 1;
        const put: unknown = store(name).putSync(asBuffer(key), asBuffer(value));
        if (put === true) return;
        throw new SyncError('TRANSACTION_FAILED', `LMDB did not take a value for DBI ${name}`, {
          retryable: true,
        });
      },
      remove: (name, key) => {
        const removed = store(name).removeSync(asBuffer(key));
        if (removed) writes.count += 1;
        return removed;
      },
      removeValue: (name, key, value) => {
        const removed = store(name).removeSync(asBuffer(key), asBuffer(value));
        if (removed) writes.count += 1;
        return removed;
      },
      dbiFlags: (name) => dbis().get(name)?.flags,
      createDbi: (name, flags) => {
        if (dbis().has(name)) return;
        writes.count += 1;
        findOpen(name);
        const persistent = flags & PERSISTENT_FLAGS;
        const has = (flag: number) => (flags & flag) !== 0;
        const options = {
          reverseKey: has(MDB_REVERSEKEY),
          dupSort: has(MDB_DUPSORT),
          dupFixed: has(MDB_DUPFIXED),
          integerDup: has(MDB_INTEGERDUP),
          reverseDup: has(MDB_REVERSEDUP),
        };
        if (has(MDB_INTEGERKEY)) {
          // The binding knows this flag only as a key encoding; handles opened later take flags from the file.
          open(name, { keyEncoding: 'uint32', ...options }, persistent);
        }
        open(name, options, persistent);
        dbis().set(name, { ...EMPTY_DBI, flags: persistent });
      },
    };
  }
}

const EMPTY_DBI: DbRecord = {
  pad: 0,
  flags: 0,
  depth: 0,
  branchPages: 0,
  leafPages: 0,
  overflowPages: 0,
  entries: 0,
  root: -1,
};

class BeginFailed extends Error {
  constructor() {
    super('MDB_MAP_RESIZED: the application has enlarged the map');
  }
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
    if (error instanceof SyncError) throw error;
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
  if (major === 0 && minor === 9 && (patch ?? 0) < FIRST_NEW_FORMAT_PATCH) return;
  throw new SyncError(
    'ADDON_FORMAT_WRONG',
    `the loaded lmdb addon is LMDB ${major}.${minor}.${patch}, which writes a data format that PowerDNS cannot read`,
    {
      hint: 'Run npm ci again with a C++ compiler installed (apt-get install g++): it builds the right one.',
    },
  );
}

/** LMDB's errors of transactions as ours. */
function mapTxnError(error: unknown, path: string): unknown {
  if (error instanceof SyncError) return error;
  const text = errorText(error);
  if (/MDB_MAP_FULL|MDB_BAD_TXN/.test(text)) {
    return new SyncError('MAP_FULL', `the map of ${path} is full`, {
      hint: 'Enlarge the map size in the application (PowerDNS: lmdb-map-size) and restart it.',
      retryable: true,
      cause: error,
    });
  }
  if (
    error instanceof BeginFailed ||
    /MDB_|No space|Input\/output|Read-only|Permission/.test(text)
  ) {
    return new SyncError('TRANSACTION_FAILED', `a transaction in ${path} failed: ${text}`, {
      hint: 'Check disk space and permissions of the LMDB; it is tried again.',
      retryable: true,
      cause: error,
    });
  }
  return error;
}

/** Names are kept one character per byte; the binding wants text. */
function dbiNameText(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8');
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
