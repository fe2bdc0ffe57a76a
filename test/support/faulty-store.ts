import { SyncError } from '../../protocol/errors.ts';
import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutIfOptions,
} from '../../storage/object-store.ts';

export type StoreCall = 'list' | 'get' | 'create' | 'put' | 'putIfUnchanged' | 'delete';

/**
 * What shall happen to a call: nothing special; an error before anything is done; the thing is done but the answer
 * is lost ("did it land?"); it lands only later, after the error (a hung request); it and its answer take a while; or
 * the body of a GET breaks off.
 */
export type Fault = 'none' | 'fail' | 'answer lost' | 'lands later' | 'slow' | 'cut off';

/** What has left this process goes on, also when whoever asked for it is gone. */
const NEVER_ABORTED = new AbortController().signal;

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
  /** Sees every attempt to store an object, before anything happens to it. */
  onCreate: (name: string, bytes: Uint8Array) => void = () => undefined;
  /** How long each half of a slow call takes. */
  pause: () => Promise<void> = nextTurn;

  constructor(inner: ObjectStore, plan: FaultPlan = () => 'none') {
    this.#inner = inner;
    this.plan = plan;
  }

  /** How many hung requests have not landed. */
  get lateCount(): number {
    return this.#late.length;
  }

  /** Hung requests that have not landed never will. */
  dropLate(): void {
    this.#late.length = 0;
  }

  /** Lets every hung request land now. */
  async landLate(): Promise<number> {
    const late = this.#late.splice(0);
    for (const land of late) {
      await land();
    }
    return late.length;
  }

  async *list(prefix: string, options: ListOptions): AsyncIterable<ObjectInfo> {
    const fault = await this.#before('list', prefix, () => Promise.resolve());
    for await (const info of this.#inner.list(prefix, options)) {
      if (fault === 'slow') {
        await this.pause();
      }
      yield info;
    }
  }

  async get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    const fault = await this.#before('get', name, () => Promise.resolve());
    const got = await this.#inner.get(name, options);
    if (fault === 'slow') {
      await this.pause();
    }
    return got === undefined || fault !== 'cut off' ? got : { ...got, body: cutOff(got.body) };
  }

  async create(name: string, body: ObjectBody, signal: AbortSignal): Promise<'stored' | 'exists'> {
    const bytes = await collect(body);
    this.onCreate(name, bytes.bytes);
    return this.#run('create', name, (late) =>
      this.#inner.create(name, bytes, late ? NEVER_ABORTED : signal),
    );
  }

  async put(name: string, body: ObjectBody, signal: AbortSignal): Promise<void> {
    const bytes = await collect(body);
    return this.#run('put', name, (late) =>
      this.#inner.put(name, bytes, late ? NEVER_ABORTED : signal),
    );
  }

  async putIfUnchanged(
    name: string,
    bytes: Uint8Array,
    options: PutIfOptions,
  ): Promise<string | undefined> {
    return this.#run('putIfUnchanged', name, (late) =>
      this.#inner.putIfUnchanged(
        name,
        bytes,
        late ? { ...options, signal: NEVER_ABORTED } : options,
      ),
    );
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    return this.#run('delete', name, (late) =>
      this.#inner.delete(name, late ? NEVER_ABORTED : signal),
    );
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  async #run<T>(call: StoreCall, name: string, act: (late: boolean) => Promise<T>): Promise<T> {
    const fault = await this.#before(call, name, () => act(true));
    const answer = await act(false);
    if (fault === 'slow') {
      await this.pause();
    }
    return answer;
  }

  async #before(call: StoreCall, name: string, act: () => Promise<unknown>): Promise<Fault> {
    this.calls[call] += 1;
    const fault = this.plan(call, name);
    if (fault === 'slow') {
      await this.pause();
    }
    if (fault === 'none' || fault === 'slow' || fault === 'cut off') {
      return fault;
    }
    if (fault === 'answer lost') {
      await act();
    }
    if (fault === 'lands later') {
      this.#late.push(act);
    }
    throw new SyncError('STORAGE_FAILED', `cannot ${call} ${name}: injected fault (${fault})`, {
      retryable: true,
    });
  }
}

/** The first chunk, and then an error. */
async function* cutOff(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  for await (const chunk of body) {
    yield chunk.subarray(0, Math.ceil(chunk.length / 2));
    break;
  }
  throw new SyncError('STORAGE_FAILED', 'cannot get: injected fault (cut off)', {
    retryable: true,
  });
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** The same bytes, whatever becomes of the original body meanwhile. */
async function collect(body: ObjectBody): Promise<ObjectBody & { readonly bytes: Uint8Array }> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body.open()) {
    chunks.push(Uint8Array.from(chunk));
  }
  const bytes = Buffer.concat(chunks);
  return {
    bytes,
    sizeBytes: bytes.length,
    open: async function* open() {
      yield bytes;
    },
  };
}
