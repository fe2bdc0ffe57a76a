import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectInfo,
  ObjectStore,
} from './object-store.ts';

/** A store that is read as it is, and takes every change without making it: a dry run is a run on it. */
export class UnwrittenStore implements ObjectStore {
  readonly #store: ObjectStore;

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  list(prefix: string, options: ListOptions): AsyncIterable<ObjectInfo> {
    return this.#store.list(prefix, options);
  }

  get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    return this.#store.get(name, options);
  }

  async create(): Promise<'stored'> {
    return 'stored';
  }

  async put(): Promise<void> {}

  async putIfUnchanged(): Promise<string> {
    return 'unwritten';
  }

  async delete(): Promise<void> {}

  async close(): Promise<void> {}
}
