import { setMaxListeners } from 'node:events';
import { SyncError } from '../../protocol/errors.ts';
import { parseObjectName } from '../../protocol/object-name.ts';
import { bytesBody, collectBody } from '../../storage/bodies.ts';
import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutIfOptions,
} from '../../storage/object-store.ts';
import type { StoreCall } from '../support/faulty-store.ts';
import type { SeededRandom } from '../support/random.ts';
import type { Owner, Scheduler } from './time/scheduler.ts';

const NEVER = new AbortController().signal;

/** How a storage behaves towards one client. */
export type Network = {
  /** Of calls that go wrong somehow. */
  readonly faultRate: number;
  /** Usual time of each half of a call: on the way there, and back. */
  readonly halfMs: number;
  /** A slow call's, and how long one that hangs takes at most to land after all. */
  readonly slowMs: number;
  readonly lateMs: number;
  /** Of objects whose bytes come wrong at the first reading, and right at every later one. */
  readonly hurtRate: number;
};

export type Requests = Record<StoreCall, number>;

/** What happens to requests of a crashed or healed world that are still on their way. */
export type Fate = { dropsLate: boolean; isHealing: boolean };

export type SimStoreParts = {
  readonly bucket: ObjectStore;
  readonly scheduler: Scheduler;
  readonly random: SeededRandom;
  readonly owner: Owner;
  readonly network: Network;
  readonly fate: Fate;
  readonly log: (text: string) => void;
  readonly onRequest?: ((call: StoreCall) => void) | undefined;
};

/**
 * The bucket as one client sees it: a call takes effect some time after it was made, and its answer comes some time after
 * that, or never. Whatever becomes of the client meanwhile, what it sent may still arrive.
 */
export class SimStore implements ObjectStore {
  readonly requests: Requests = {
    list: 0,
    get: 0,
    create: 0,
    put: 0,
    putIfUnchanged: 0,
    delete: 0,
  };
  readonly #parts: SimStoreParts;
  readonly #read = new Set<string>();

  constructor(parts: SimStoreParts) {
    this.#parts = parts;
  }

  async *list(prefix: string, { signal, startAfter }: ListOptions): AsyncIterable<ObjectInfo> {
    const infos = await this.#call('list', prefix, signal, async () => {
      const all: ObjectInfo[] = [];
      const { bucket } = this.#parts;
      for await (const info of bucket.list(prefix, { signal: NEVER, startAfter })) {
        all.push(info);
      }
      return all;
    });
    yield* infos;
  }

  async get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    const { bucket, random, fate, network } = this.#parts;
    const got = await this.#call('get', name, options.signal, () =>
      bucket.get(name, { ...options, signal: NEVER }),
    );
    const isCutOff = !fate.isHealing && random.chance(network.faultRate / 6);
    if (got === undefined || isCutOff) {
      return got && { ...got, body: cutOff(got.body) };
    }
    return this.#isHurt(name, options) ? { ...got, body: hurt(got.body) } : got;
  }

  async create(name: string, body: ObjectBody, signal: AbortSignal): Promise<'stored' | 'exists'> {
    const bytes = bytesBody(await this.#collect(body));
    const { bucket } = this.#parts;
    return this.#call('create', name, signal, () => bucket.create(name, bytes, NEVER));
  }

  async put(name: string, body: ObjectBody, signal: AbortSignal): Promise<void> {
    const bytes = bytesBody(await this.#collect(body));
    const { bucket } = this.#parts;
    return this.#call('put', name, signal, () => bucket.put(name, bytes, NEVER));
  }

  putIfUnchanged(
    name: string,
    bytes: Uint8Array,
    { signal, etag }: PutIfOptions,
  ): Promise<string | undefined> {
    const { bucket } = this.#parts;
    const copy = Uint8Array.from(bytes);
    return this.#call('putIfUnchanged', name, signal, () =>
      bucket.putIfUnchanged(name, copy, { signal: NEVER, etag }),
    );
  }

  delete(name: string, signal: AbortSignal): Promise<void> {
    const { bucket } = this.#parts;
    return this.#call('delete', name, signal, () => bucket.delete(name, NEVER));
  }

  async close(): Promise<void> {}

  /** Only what has a checksum: wrong bytes of anything else cannot be told from right ones. */
  #isHurt(name: string, { firstBytes }: GetOptions): boolean {
    if (firstBytes !== undefined || this.#read.has(name) || parseObjectName(name) === undefined) {
      return false;
    }
    this.#read.add(name);
    const { random, network } = this.#parts;
    return random.chance(network.hurtRate);
  }

  #collect(body: ObjectBody): Promise<Uint8Array> {
    const { scheduler } = this.#parts;
    return scheduler.working(async () => Uint8Array.from(await collectBody(body, NEVER)));
  }

  #call<T>(
    call: StoreCall,
    name: string,
    signal: AbortSignal,
    effect: () => Promise<T>,
  ): Promise<T> {
    const { scheduler, owner, fate, log } = this.#parts;
    this.requests[call] += 1;
    this.#parts.onRequest?.(call);
    // As many calls as whoever gave it has under way.
    setMaxListeners(0, signal);
    if (signal.aborted) {
      return Promise.reject(signal.reason as Error);
    }
    const { fault, beforeMs, afterMs, lateMs, isTiedToCaller } = this.#draw(call);
    return new Promise<T>((resolve, reject) => {
      let answered = false;
      const answer = (give: () => void) => {
        if (answered || owner.isGone) {
          return;
        }
        answered = true;
        signal.removeEventListener('abort', abort);
        give();
      };
      const abort = () => answer(() => reject(signal.reason as Error));
      signal.addEventListener('abort', abort, { once: true });
      const fail = () => {
        const what = `cannot ${call} ${name}: injected fault (${fault})`;
        answer(() => reject(new SyncError('STORAGE_FAILED', what, { retryable: true })));
      };
      scheduler.after(beforeMs, async () => {
        if ((answered || owner.isGone) && isTiedToCaller) {
          return;
        }
        if (fault === 'fail') {
          scheduler.after(afterMs, fail);
          return;
        }
        if (fault === 'lands later') {
          scheduler.after(afterMs, fail);
          scheduler.after(lateMs, async () => {
            if (fate.dropsLate) {
              return;
            }
            await effect();
            log(`${call} ${name} lands late`);
          });
          return;
        }
        const result = await effect();
        scheduler.after(afterMs, () => {
          if (fault === 'answer lost') {
            fail();
          } else {
            answer(() => resolve(result));
          }
        });
      });
    });
  }

  #draw(call: StoreCall) {
    const { random, network, fate } = this.#parts;
    const half = () => network.halfMs * (0.5 + random.next());
    // A request that has left may arrive although nobody waits for it any more.
    const usual = {
      beforeMs: half(),
      afterMs: half(),
      lateMs: network.lateMs * random.next(),
      isTiedToCaller: random.chance(0.5),
    };
    if (fate.isHealing || !random.chance(network.faultRate)) {
      return { ...usual, fault: 'none' as const };
    }
    const reads = call === 'list' || call === 'get';
    const fault = random.weighted(
      reads
        ? { fail: 2, slow: 4, 'answer lost': 0, 'lands later': 0 }
        : { fail: 2, slow: 3, 'answer lost': 2, 'lands later': 2 },
    );
    if (fault !== 'slow') {
      return { ...usual, fault };
    }
    const [before, after] = [random.next() * network.slowMs, random.next() * network.slowMs];
    return { ...usual, beforeMs: before, afterMs: after, fault: 'none' as const };
  }
}

async function* cutOff(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  for await (const chunk of body) {
    yield chunk.subarray(0, Math.ceil(chunk.length / 2));
    break;
  }
  throw new SyncError('STORAGE_FAILED', 'cannot get: injected fault (cut off)', {
    retryable: true,
  });
}

/** The same with one wrong bit, in the middle: neither the length nor the head of a gzip stream tells. */
async function* hurt(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  let isFirst = true;
  for await (const chunk of body) {
    const copy = Uint8Array.from(chunk);
    if (isFirst) {
      const middle = copy.length >> 1;
      copy[middle] = (copy[middle] ?? 0) ^ 1;
    }
    isFirst = false;
    yield copy;
  }
}
