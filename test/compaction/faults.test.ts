import { compact } from '../../compaction/compact.ts';
import { SyncError } from '../../protocol/errors.ts';
import { manifestName, parseObjectName } from '../../protocol/object-name.ts';
import { MemoryObjectStore } from '../../storage/memory.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { TestCompactor, TestWriter, entry, names, plain } from '../support/compaction.ts';
import { freshState } from '../support/readers/fresh-reader.ts';
import { FaultyStore, type Fault } from '../support/faulty-store.ts';

/** A bucket with a published base, a level above it and a tail: every kind of call happens in a run. */
async function preparedBucket(level: 'base' | 'level1') {
  const store = new MemoryObjectStore();
  const a = new TestWriter(store, { instance: 'a', run: 'run1' });
  const b = new TestWriter(store, { instance: 'b', run: 'run2' });
  const levels = { smallBaseBytes: 0, baseDueRatio: 1000 };
  const compactor = new TestCompactor(store, levels);
  const many = Array.from({ length: 50 }, (_, i) => entry(`k${i}`, 'v', 1n));
  await a.snapshot([{ name: 'd', entries: many }]);
  await compactor.run();
  await b.delta([{ name: 'd', entries: [entry('k1', undefined, 2n), entry('k2', 'x', 2n)] }]);
  await compactor.run();
  await a.delta([{ name: 'd', entries: [entry('k2', 'y', 3n)] }]);
  await b.snapshot([{ name: 'd', entries: [entry('k3', 'z', 3n)] }], new Map([[a.stream, 1n]]));
  await b.delta([{ name: 'e', entries: [entry('k', 'new DBI', 4n)] }]);
  if (level === 'base') {
    compactor.policy = { ...compactor.policy, baseDueRatio: 0 };
  }
  return { store, compactor };
}

/** Runs once; a failure is what the test wants to see survived. */
async function attempt(compactor: TestCompactor, store: ObjectStore): Promise<void> {
  compactor.advanceMs(1);
  await compact(compactor.options({ store })).catch(() => undefined);
}

async function callsOfOneRun(level: 'base' | 'level1'): Promise<number> {
  const { store, compactor } = await preparedBucket(level);
  const faulty = new FaultyStore(store);
  await attempt(compactor, faulty);
  return Object.values(faulty.calls).reduce((sum, calls) => sum + calls, 0);
}

const faults: readonly Fault[] = ['fail', 'answer lost', 'lands later'];

describe.each(['base', 'level1'] as const)('a run that writes a %s', (level) => {
  test.each([...faults, 'crash' as const])(
    'keeps the state whole when any one call ends with: %s',
    async (fault) => {
      const calls = await callsOfOneRun(level);
      expect(calls).toBeGreaterThan(10);
      for (let at = 0; at < calls; at++) {
        const { store, compactor } = await preparedBucket(level);
        const before = plain(await freshState(store));
        let call = 0;
        const faulty = new FaultyStore(store, () => {
          const now = call++;
          if (fault === 'crash') {
            return now >= at ? 'fail' : 'none';
          }
          return now === at ? fault : 'none';
        });
        await attempt(compactor, faulty);
        expect(plain(await freshState(store))).toEqual(before);
        faulty.plan = () => 'none';
        // The hung request lands before, or after, the next run.
        if (at % 2 === 0) {
          await faulty.landLate();
        }
        expect(plain(await freshState(store))).toEqual(before);
        await attempt(compactor, faulty);
        await faulty.landLate();
        expect(plain(await freshState(store))).toEqual(before);
        // A new object lets the next run publish, after which nothing superfluous is left.
        const writer = new TestWriter(store, { instance: 'c', run: 'run3' });
        await writer.delta([{ name: 'd', entries: [entry('k1', undefined, 2n)] }]);
        await attempt(compactor, faulty);
        await attempt(compactor, faulty);
        expect(plain(await freshState(store))).toEqual(before);
        const left = (await names(store)).map(parseObjectName);
        expect(left.filter((name) => name?.kind !== 'base' && name !== undefined)).toEqual([]);
      }
    },
  );
});

/** Lets calls through one at a time, or fails them, in an order that a seed decides. */
class Turnstile {
  readonly waiting: { readonly go: () => void; readonly fail: (error: Error) => void }[] = [];

  gate(store: ObjectStore): ObjectStore {
    const turn = (): Promise<void> =>
      new Promise((go, fail) => {
        this.waiting.push({ go, fail });
      });
    const guarded = async <T>(act: () => Promise<T>): Promise<T> => {
      await turn();
      return act();
    };
    return {
      async *list(prefix, options) {
        await turn();
        yield* store.list(prefix, options);
      },
      get: (name, options) => guarded(() => store.get(name, options)),
      create: (name, body, signal) => guarded(() => store.create(name, body, signal)),
      put: (name, body, signal) => guarded(() => store.put(name, body, signal)),
      putIfUnchanged: (name, bytes, options) =>
        guarded(() => store.putIfUnchanged(name, bytes, options)),
      delete: (name, signal) => guarded(() => store.delete(name, signal)),
      close: () => store.close(),
    };
  }
}

function randomOf(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761 + 1;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Agents that store deltas, and now and then a full snapshot of all that is in the bucket. */
class Fleet {
  readonly #store: MemoryObjectStore;
  readonly #random: (below: number) => number;
  readonly #writers: TestWriter[];
  #time = 1n;

  constructor(store: MemoryObjectStore, random: (below: number) => number) {
    this.#store = store;
    this.#random = random;
    this.#writers = ['a', 'b'].map((instance) => new TestWriter(store, { instance, run: 'r' }));
  }

  async write(): Promise<void> {
    const writer = this.#writers[this.#random(2)];
    if (this.#random(4) === 0) {
      const state = await freshState(this.#store);
      const entries = [...(state.get('d') ?? [])].map(([key, register]) => ({
        ...register,
        key: Buffer.from(key, 'hex'),
      }));
      const vector = new Map(this.#writers.map(({ stream, seq }) => [stream, seq]));
      await writer?.snapshot([{ name: 'd', entries }], vector);
      return;
    }
    this.#time += 1n;
    const value = this.#random(3) === 0 ? undefined : `${this.#time}`;
    const written = entry(`k${this.#random(4)}`, value, this.#time);
    await writer?.delta([{ name: 'd', entries: [written] }]);
  }
}

test('two compactors at once, with agents writing and requests failing, lose nothing in any order', async () => {
  const published = { count: 0 };
  for (let seed = 1; seed <= 30; seed++) {
    const random = randomOf(seed);
    const store = new MemoryObjectStore();
    const turnstile = new Turnstile();
    const fleet = new Fleet(store, random);
    const compactors = [0, 1].map(
      () => new TestCompactor(store, { smallBaseBytes: 0, baseDueRatio: random(2) }),
    );
    for (let i = 0; i < 6; i++) {
      await fleet.write();
    }
    const current = async (): Promise<string> => JSON.stringify(plain(await freshState(store)));
    let want = await current();
    const ended = new Set<number>();
    const runs = compactors.map(async (compactor, who) => {
      const gated = turnstile.gate(store);
      for (let i = 0; i < 4; i++) {
        compactor.advanceMs(1);
        const report = await compact(compactor.options({ store: gated })).catch(() => undefined);
        published.count += report?.outcome === 'published' ? 1 : 0;
      }
      ended.add(who);
    });
    while (ended.size < 2) {
      // Everything that can run without a turn has run when the event loop has gone round.
      await new Promise((resolve) => setImmediate(resolve));
      if (random(10) === 0) {
        await fleet.write();
        want = await current();
      }
      const chosen = turnstile.waiting.splice(random(turnstile.waiting.length), 1)[0];
      if (random(40) === 0) {
        chosen?.fail(new SyncError('STORAGE_FAILED', 'injected'));
      } else {
        chosen?.go();
      }
      await new Promise((resolve) => setImmediate(resolve));
      const have = await current();
      if (have !== want) {
        throw new Error(`seed ${seed}: a fresh reader gets ${have}, not ${want}`);
      }
    }
    await Promise.all(runs);
  }
  expect(published.count).toBeGreaterThan(30);
});

test('the manifest is never replaced by a compactor that has read an older one', async () => {
  const { store, compactor } = await preparedBucket('base');
  const other = new TestCompactor(store);
  other.nowNs = compactor.nowNs;
  let raced = false;
  const slow = new FaultyStore(store);
  const racing: ObjectStore = Object.assign(Object.create(slow) as ObjectStore, {
    list: slow.list.bind(slow),
    get: slow.get.bind(slow),
    delete: slow.delete.bind(slow),
    create: slow.create.bind(slow),
    async putIfUnchanged(name: string, bytes: Uint8Array, options: never) {
      if (!raced && name === manifestName('main')) {
        raced = true;
        await other.run();
      }
      return slow.putIfUnchanged(name, bytes, options);
    },
  });
  const report = await compact(compactor.options({ store: racing }));
  expect(report).toMatchObject({ outcome: 'lost', deleted: [] });
});
