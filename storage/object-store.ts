/** What a listing tells about one object. */
export type ObjectInfo = {
  readonly name: string;
  readonly sizeBytes: number;
  /** Changes whenever the bytes change. File systems: size, modification time and inode. */
  readonly etag: string;
  readonly lastModifiedMs: number;
};

/** An object's bytes, readable more than once: an unanswered PUT is repeated with the same bytes. */
export interface ObjectBody {
  readonly sizeBytes: number;
  /** A fresh stream from the start, of exactly `sizeBytes` bytes: any other length is an error and stores nothing. */
  open(): AsyncIterable<Uint8Array>;
}

export type ListOptions = {
  readonly signal: AbortSignal;
  readonly startAfter?: string | undefined;
};

export type GetOptions = {
  readonly signal: AbortSignal;
  /** Only the first bytes, at least this many where the object has them. */
  readonly firstBytes?: number | undefined;
};

export type FetchedObject = {
  /** Of the whole object, also where only its first bytes were asked for. */
  readonly sizeBytes: number;
  readonly etag: string;
  /**
   * Readable once; chunks belong to the reader. Fails, never ends early, when cut off. Reading must begin soon, or the
   * connection stays open until it stalls or the operation's time limit ends it.
   */
  readonly body: AsyncIterable<Uint8Array>;
};

export type PutIfOptions = {
  readonly signal: AbortSignal;
  /** The object must still have this etag; undefined: it must be absent. */
  readonly etag: string | undefined;
};

/** Requests by kind since start, for metrics and the cost estimate. */
export type RequestKind = 'list' | 'load' | 'store' | 'delete';

/**
 * The object store as this project needs it. Names are relative to the configured prefix.
 * Rejects with a SyncError whose `retryable` is decided here and nowhere else.
 */
export interface ObjectStore {
  /** Names under `prefix` above `startAfter`, ascending by byte. Each 1,000 names cost one LIST request. */
  list(prefix: string, options: ListOptions): AsyncIterable<ObjectInfo>;
  /** The object, or undefined if there is none. */
  get(name: string, options: GetOptions): Promise<FetchedObject | undefined>;
  /**
   * Stores an object that did not exist (`If-None-Match: *`). "exists": an object of that name is already
   * there and stays as it is. Readers see an object complete or not at all; large bodies stream.
   */
  create(name: string, body: ObjectBody, signal: AbortSignal): Promise<'stored' | 'exists'>;
  /** Stores, replacing an object of that name. */
  put(name: string, body: ObjectBody, signal: AbortSignal): Promise<void>;
  /** Replaces the object if it is still at `etag`; returns its new etag, undefined when another writer won. */
  putIfUnchanged(
    name: string,
    bytes: Uint8Array,
    options: PutIfOptions,
  ): Promise<string | undefined>;
  /** Idempotent: a name that is already gone is no error. */
  delete(name: string, signal: AbortSignal): Promise<void>;
  /** Ends connections and background work. */
  close(): Promise<void>;
}
