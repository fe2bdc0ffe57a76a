import assert from 'node:assert';
import { errorText, SyncError } from '../../protocol/errors.ts';
import { TXN_ID_OFFSET } from '../../protocol/value-header.ts';
import type { PackedRow } from './packed-entries.ts';
import { listDbis, type DataFile, type DbRecord, type Meta } from './pages/data-file.ts';
import {
  EMPTY_ROOT,
  MDB_DUPFIXED,
  MDB_DUPSORT,
  MDB_INTEGERDUP,
  MDB_INTEGERKEY,
  MDB_REVERSEDUP,
  MDB_REVERSEKEY,
} from './pages/layout.ts';

/** Inside `Environment.write`. Nobody else can commit meanwhile: `committed` stays the newest state. */
export interface WriteTxn {
  readonly txnId: number;
  readonly committed: Meta;
  /** The DBI must exist, or have been created in this transaction. Bytes are copied. */
  put(dbiName: string, key: Uint8Array, value: Uint8Array): void;
  /**
   * Puts entries of a row from `at` on, `atMost` of them, in one call. Cheapest where they ascend; behind the DBI's
   * last key they cost least. A value with a header gets this transaction's id written into it.
   */
  putPacked(row: PackedRow, at: number, atMost: number): PackedPut;
  /** Removes a key; false: it was not there. */
  remove(dbiName: string, key: Uint8Array): boolean;
  /** Removes one value of a key of an MDB_DUPSORT DBI; false: it was not there. */
  removeValue(dbiName: string, key: Uint8Array, value: Uint8Array): boolean;
  /** The flags of a DBI, be it created in this transaction; undefined: there is none. */
  dbiFlags(dbiName: string): number | undefined;
  /** Creates a DBI with these persistent flags, unless it exists. */
  createDbi(dbiName: string, flags: number): void;
  /** Removes a DBI with all that is in it; false: there was none. Nobody may have it open in another process. */
  dropDbi(dbiName: string): boolean;
}

/** What {@link WriteTxn.putPacked} has done. */
export type PackedPut = {
  /** Where in the row it stopped. */
  readonly next: number;
  /** Entries put: those that are left out are passed over. */
  readonly put: number;
  /** Pages that the whole transaction has to write by now, a large value counted as one. */
  readonly dirtyPages: number;
};

/** What npm `lmdb` gives for a DBI, as far as it is used here. */
export interface BindingStore {
  /** True if it was put: what LMDB calls "not found" is not thrown. */
  putSync(key: Buffer, value: Buffer): unknown;
  removeSync(key: Buffer, value?: Buffer): boolean;
  dropSync(): void;
  readonly db: { readonly dbi: number; close(): void };
  /** A method of our own addon: see `agent/build/build-lmdb.cjs`. */
  readonly env: { putMany(dbi: number, bytes: Uint8Array, job: Uint32Array): void };
}

/** What opens one; inside a write transaction it becomes a part of that. */
export type OpenStore = (name: string, options: object) => BindingStore;

/** Handles stay open from one transaction to the next, each with the flags of the DBI that it was opened for. */
export type OpenHandles = Map<string, { readonly store: BindingStore; readonly flags: number }>;

/** What LMDB keeps of the flags that a DBI is created with. */
const PERSISTENT_FLAGS =
  MDB_REVERSEKEY | MDB_DUPSORT | MDB_INTEGERKEY | MDB_DUPFIXED | MDB_INTEGERDUP | MDB_REVERSEDUP;

// The numbers of a job of `putMany`, see agent/build/build-lmdb.cjs.
const JOB_AT = 0;
const JOB_END = 1;
const JOB_AT_MOST = 2;
const JOB_ID_OFFSET = 3;
const JOB_APPENDS = 4;
const JOB_PUT = 5;
const JOB_DIRTY_PAGES = 6;
const JOB_NUMBERS = 7;

/** The {@link WriteTxn} of the binding's current write transaction. */
export class BindingWriteTxn implements WriteTxn {
  readonly txnId: number;
  readonly committed: Meta;
  /** Names of the handles opened in it: if it is aborted they are closed with it. */
  readonly openedHere: string[] = [];
  /** Something was written: only then does it take its id. */
  wrote = false;
  /** What the first call that failed said: LMDB answers MDB_BAD_TXN to every later one. */
  firstFailure: string | undefined;
  readonly #handles: OpenHandles;
  readonly #openStore: OpenStore;
  readonly #file: DataFile;
  #records: Map<string, DbRecord> | undefined;
  readonly #job = new Uint32Array(JOB_NUMBERS);
  /** DBIs in which a key was not behind the last one. */
  readonly #notAppended = new Set<string>();

  constructor(parts: {
    txnId: number;
    committed: Meta;
    file: DataFile;
    handles: OpenHandles;
    openStore: OpenStore;
  }) {
    this.txnId = parts.txnId;
    this.committed = parts.committed;
    this.#file = parts.file;
    this.#handles = parts.handles;
    this.#openStore = parts.openStore;
  }

  put(dbiName: string, key: Uint8Array, value: Uint8Array): void {
    this.wrote = true;
    let isPut: boolean;
    try {
      isPut = this.#store(dbiName).putSync(asBuffer(key), asBuffer(value)) === true;
    } catch (error) {
      throw this.#failed(error);
    }
    if (isPut) {
      return;
    }
    throw new SyncError('TRANSACTION_FAILED', `LMDB did not take a value for DBI ${dbiName}`, {
      retryable: true,
    });
  }

  putPacked(row: PackedRow, at: number, atMost: number): PackedPut {
    const { dbiName, bytes, end, hasHeaders } = row;
    const store = this.#store(dbiName);
    const job = this.#job;
    job[JOB_AT] = at;
    job[JOB_END] = end;
    job[JOB_AT_MOST] = atMost;
    job[JOB_ID_OFFSET] = hasHeaders ? TXN_ID_OFFSET : 0;
    job[JOB_APPENDS] = this.#notAppended.has(dbiName) ? 0 : 1;
    try {
      store.env.putMany(store.db.dbi, bytes, job);
    } catch (error) {
      throw this.#failed(error);
    }
    if (job[JOB_APPENDS] === 0) {
      this.#notAppended.add(dbiName);
    }
    const put = job[JOB_PUT] ?? 0;
    this.wrote ||= put > 0;
    return { next: job[JOB_AT] ?? 0, put, dirtyPages: job[JOB_DIRTY_PAGES] ?? 0 };
  }

  remove(dbiName: string, key: Uint8Array): boolean {
    return this.#remove(() => this.#store(dbiName).removeSync(asBuffer(key)));
  }

  removeValue(dbiName: string, key: Uint8Array, value: Uint8Array): boolean {
    return this.#remove(() => this.#store(dbiName).removeSync(asBuffer(key), asBuffer(value)));
  }

  #remove(work: () => boolean): boolean {
    let removed: boolean;
    try {
      removed = work();
    } catch (error) {
      throw this.#failed(error);
    }
    if (removed) {
      this.wrote = true;
    }
    return removed;
  }

  #failed(error: unknown): unknown {
    this.firstFailure ??= errorText(error);
    return error;
  }

  dbiFlags(dbiName: string): number | undefined {
    return this.#dbis.get(dbiName)?.flags;
  }

  createDbi(dbiName: string, flags: number): void {
    if (this.#dbis.has(dbiName)) {
      return;
    }
    this.wrote = true;
    this.#findOpen(dbiName);
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
      this.#open(dbiName, { keyEncoding: 'uint32', ...options }, persistent);
    }
    this.#open(dbiName, options, persistent);
    this.#dbis.set(dbiName, { ...EMPTY_DBI, flags: persistent });
  }

  dropDbi(dbiName: string): boolean {
    if (!this.#dbis.has(dbiName)) {
      return false;
    }
    const store = this.#store(dbiName);
    this.wrote = true;
    store.dropSync();
    // LMDB closes the handle with the DBI.
    this.#handles.delete(dbiName);
    this.#dbis.delete(dbiName);
    return true;
  }

  get #dbis(): Map<string, DbRecord> {
    // A copy: what this transaction creates is added.
    this.#records ??= new Map(listDbis(this.#file, this.committed));
    return this.#records;
  }

  #store(name: string): BindingStore {
    const flags = this.dbiFlags(name);
    assert(flags !== undefined, `DBI ${name} exists or was created before`);
    const options = { dupSort: (flags & MDB_DUPSORT) !== 0 };
    return this.#findOpen(name) ?? this.#open(name, options, flags);
  }

  #open(name: string, options: object, flags: number): BindingStore {
    const store = this.#openStore(dbiNameText(name), options);
    this.openedHere.push(name);
    this.#handles.set(name, { store, flags });
    return store;
  }

  /**
   * The open handle, if it is still one of the DBI of that name. LMDB gives out a handle as long as nobody closes it,
   * but what is put through one whose DBI another process dropped is ignored without an error.
   */
  #findOpen(name: string): BindingStore | undefined {
    const known = this.#handles.get(name);
    if (known === undefined || this.dbiFlags(name) === known.flags) {
      return known?.store;
    }
    known.store.db.close();
    this.#handles.delete(name);
    return undefined;
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
  root: EMPTY_ROOT,
};

/**
 * Names are kept one character per byte; the binding wants text. Errors: TRANSACTION_FAILED for one that is no text:
 * the binding would write to a DBI of another name.
 */
function dbiNameText(name: string): string {
  const bytes = Buffer.from(name, 'latin1');
  const text = bytes.toString('utf8');
  if (Buffer.from(text, 'utf8').equals(bytes)) {
    return text;
  }
  throw new SyncError('TRANSACTION_FAILED', `cannot write to DBI 0x${bytes.toString('hex')}`, {
    hint: 'Give the DBI a name in UTF-8.',
  });
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
