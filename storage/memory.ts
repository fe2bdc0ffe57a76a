import { bytesBody, collectBody } from './bodies.ts';
import { READ_CHUNK_BYTES } from './limits.ts';
import { compareNames } from './names.ts';
import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutIfOptions,
  RequestKind,
} from './object-store.ts';
import type { StoreHooks } from './requests.ts';
import { observeRequest } from './requests.ts';

export type MemoryStoreOptions = StoreHooks & {
  /** Milliseconds since the epoch, for `lastModifiedMs`; `Date.now` unless given. */
  readonly nowMs?: (() => number) | undefined;
};

type Stored = {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly lastModifiedMs: number;
};

/**
 * The object store of one process: for tests, simulation and upstream's `type: memory`.
 *
 * Deterministic: no timers, no randomness; etags count up. It never fails by itself: a wrapper that implements
 * the same interface injects faults. Every operation takes effect in one turn of the event loop, after the
 * body has been read.
 */
export class MemoryObjectStore implements ObjectStore {
  readonly #objects = new Map<string, Stored>();
  readonly #hooks: StoreHooks;
  readonly #nowMs: () => number;
  #writes = 0;

  constructor(options: MemoryStoreOptions = {}) {
    this.#hooks = options;
    this.#nowMs = options.nowMs ?? Date.now;
  }

  async *list(prefix: string, options: ListOptions): AsyncGenerator<ObjectInfo, void, void> {
    const { signal, startAfter = '' } = options;
    const infos = await this.#observe('list', signal, async () =>
      [...this.#objects]
        .filter(([name]) => name.startsWith(prefix) && compareNames(name, startAfter) > 0)
        .toSorted(([a], [b]) => compareNames(a, b))
        .map(([name, { bytes, etag, lastModifiedMs }]) => ({
          name,
          sizeBytes: bytes.byteLength,
          etag,
          lastModifiedMs,
        })),
    );
    for (const info of infos) {
      signal.throwIfAborted();
      yield info;
    }
  }

  get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    const { signal, firstBytes } = options;
    return this.#observe('load', signal, async () => {
      const stored = this.#objects.get(name);
      return stored === undefined
        ? undefined
        : {
            sizeBytes: stored.bytes.byteLength,
            etag: stored.etag,
            body: copies(stored.bytes.subarray(0, firstBytes), signal),
          };
    });
  }

  create(name: string, body: ObjectBody, signal: AbortSignal): Promise<'stored' | 'exists'> {
    return this.#observe('store', signal, async () => {
      const bytes = await collectBody(body, signal);
      if (this.#objects.has(name)) {
        return 'exists';
      }
      this.#store(name, bytes);
      return 'stored';
    });
  }

  put(name: string, body: ObjectBody, signal: AbortSignal): Promise<void> {
    return this.#observe('store', signal, async () => {
      this.#store(name, await collectBody(body, signal));
    });
  }

  putIfUnchanged(
    name: string,
    bytes: Uint8Array,
    options: PutIfOptions,
  ): Promise<string | undefined> {
    return this.#observe('store', options.signal, async () => {
      const copy = await collectBody(bytesBody(bytes), options.signal);
      return this.#objects.get(name)?.etag === options.etag ? this.#store(name, copy) : undefined;
    });
  }

  delete(name: string, signal: AbortSignal): Promise<void> {
    return this.#observe('delete', signal, async () => {
      this.#objects.delete(name);
    });
  }

  async close(): Promise<void> {}

  #store(name: string, bytes: Uint8Array): string {
    this.#writes += 1;
    const etag = `"${this.#writes}"`;
    this.#objects.set(name, { bytes, etag, lastModifiedMs: this.#nowMs() });
    return etag;
  }

  #observe<T>(kind: RequestKind, signal: AbortSignal, run: () => Promise<T>): Promise<T> {
    return observeRequest(
      async () => {
        signal.throwIfAborted();
        return run();
      },
      { ...this.#hooks, kind, errorType: () => 'Unknown' },
    );
  }
}

// Copies, because a reader may hand a chunk's memory to a worker thread for good.
async function* copies(bytes: Uint8Array, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += READ_CHUNK_BYTES) {
    signal.throwIfAborted();
    yield bytes.slice(at, at + READ_CHUNK_BYTES);
  }
}
