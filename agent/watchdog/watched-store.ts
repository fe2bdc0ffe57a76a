import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutIfOptions,
} from '../../storage/object-store.ts';
import type { Loop } from './watchdog.ts';

/** The store as one loop uses it: while it waits for an answer it is due, and every chunk and every name is progress. */
export class WatchedStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #loop: Loop;

  constructor(store: ObjectStore, loop: Loop) {
    this.#store = store;
    this.#loop = loop;
  }

  async *list(prefix: string, options: ListOptions): AsyncIterable<ObjectInfo> {
    yield* this.#moving(
      `the storage to list ${prefix === '' ? 'everything' : `${prefix}*`}`,
      this.#store.list(prefix, options),
    );
  }

  async get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    const what = `the storage to send ${name}`;
    const got = await this.#loop.during(what, () => this.#store.get(name, options));
    return (
      got && {
        sizeBytes: got.sizeBytes,
        etag: got.etag,
        body: this.#moving(what, got.body),
      }
    );
  }

  create(name: string, body: ObjectBody, signal: AbortSignal): Promise<'stored' | 'exists'> {
    return this.#loop.during(storing(name), () =>
      this.#store.create(name, this.#sent(body), signal),
    );
  }

  put(name: string, body: ObjectBody, signal: AbortSignal): Promise<void> {
    return this.#loop.during(storing(name), () => this.#store.put(name, this.#sent(body), signal));
  }

  putIfUnchanged(
    name: string,
    bytes: Uint8Array,
    options: PutIfOptions,
  ): Promise<string | undefined> {
    return this.#loop.during(storing(name), () => this.#store.putIfUnchanged(name, bytes, options));
  }

  delete(name: string, signal: AbortSignal): Promise<void> {
    return this.#loop.during(`the storage to delete ${name}`, () =>
      this.#store.delete(name, signal),
    );
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  #sent(body: ObjectBody): ObjectBody {
    const loop = this.#loop;
    return {
      sizeBytes: body.sizeBytes,
      async *open() {
        for await (const chunk of body.open()) {
          loop.progressed();
          yield chunk;
        }
      },
    };
  }

  /** Due only while the source is waited for, not while the reader works on what it got. */
  async *#moving<T>(what: string, source: AsyncIterable<T>): AsyncIterable<T> {
    const iterator = source[Symbol.asyncIterator]();
    let ended = false;
    try {
      for (;;) {
        const next = await this.#loop.during(what, () => iterator.next());
        if (next.done === true) {
          ended = true;
          return;
        }
        yield next.value;
      }
    } catch (error) {
      ended = true;
      throw error;
    } finally {
      if (!ended) {
        await iterator.return?.();
      }
    }
  }
}

function storing(name: string): string {
  return `the storage to take ${name}`;
}
