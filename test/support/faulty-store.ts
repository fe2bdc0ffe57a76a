import { SyncError } from '../../protocol/errors.ts';
import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutIfOptions,
} from '../../protocol/storage/object-store.ts';

export type StoreCall = 'list' | 'get' | 'create' | 'put' | 'putIfUnchanged' | 'delete';

/**
 * What shall happen to a call: nothing special; an error before anything is done; the thing is done but the answer
 * is lost ("did it land?"); or it lands only later, after the error (a hung request).
 */
export type Fault = 'none' | 'fail' | 'answer lost' | 'lands later';

export type FaultPlan = (call: StoreCall, name: string) => Fault;

/** An object store in front of another that misbehaves as `plan` says; counts every call by kind. */
export class FaultyStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly calls: Record<StoreCall, number> = {
    list: 0,
    get: 0,
    create: 0,
    put: 0,
    putIfUnchanged: 0,
    delete: 0,
  };
  readonly #late: (() => Promise<unknown>)[] = [];
  plan: FaultPlan;

  constructor(inner: ObjectStore, plan: FaultPlan = () => 'none') {
    this.#inner = inner;
    this.plan = plan;
  }

  /** Lets every hung request land now. */
  async landLate(): Promise<number> {
    const late = this.#late.splice(0);
    for (const land of late) await land();
    return late.length;
  }

  async *list(prefix: string, options: ListOptions): AsyncIterable<ObjectInfo> {
    await this.#before('list', prefix, () => Promise.resolve());
    yield* this.#inner.list(prefix, options);
  }

  async get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    return this.#run('get', name, () => this.#inner.get(name, options));
  }

  async create(name: string, body: ObjectBody, signal: AbortSignal): Promise<'stored' | 'exists'> {
    const bytes = await collect(body);
    return this.#run('create', name, (late) =>
      this.#inner.create(name, bytes, late ? new AbortController().signal : signal),
    );
  }

  async put(name: string, body: ObjectBody, signal: AbortSignal): Promise<void> {
    const bytes = await collect(body);
    return this.#run('put', name, () => this.#inner.put(name, bytes, signal));
  }

  async putIfUnchanged(
    name: string,
    bytes: Uint8Array,
    options: PutIfOptions,
  ): Promise<string | undefined> {
    return this.#run('putIfUnchanged', name, () =>
      this.#inner.putIfUnchanged(name, bytes, options),
    );
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    return this.#run('delete', name, () => this.#inner.delete(name, signal));
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  async #run<T>(call: StoreCall, name: string, act: (late: boolean) => Promise<T>): Promise<T> {
    await this.#before(call, name, () => act(true));
    return act(false);
  }

  async #before(call: StoreCall, name: string, act: () => Promise<unknown>): Promise<void> {
    this.calls[call] += 1;
    const fault = this.plan(call, name);
    if (fault === 'none') return;
    if (fault === 'answer lost') await act();
    if (fault === 'lands later') this.#late.push(act);
    throw new SyncError('STORAGE_FAILED', `cannot ${call} ${name}: injected fault (${fault})`, {
      retryable: true,
    });
  }
}

/** The same bytes, whatever becomes of the original body meanwhile. */
async function collect(body: ObjectBody): Promise<ObjectBody> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body.open()) chunks.push(Uint8Array.from(chunk));
  const bytes = Buffer.concat(chunks);
  return {
    sizeBytes: bytes.length,
    open: async function* open() {
      yield bytes;
    },
  };
}
