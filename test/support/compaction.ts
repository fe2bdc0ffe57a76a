import { gunzipSync, gzipSync } from 'node:zlib';
import { compact } from '../../compaction/compact.ts';
import type { ScratchFile, Scratch } from '../../compaction/scratch/scratch.ts';
import { DEFAULT_POLICY, type CompactionPolicy } from '../../compaction/policy.ts';
import type { CompactionReport } from '../../compaction/report.ts';
import type { CompactOptions } from '../../compaction/run-context.ts';
import { SyncError } from '../../protocol/errors.ts';
import { parseManifest, type Manifest } from '../../protocol/manifest.ts';
import { formatObjectName, manifestName, streamOf } from '../../protocol/object-name.ts';
import { mergeRegisters, type Register } from '../../protocol/register.ts';
import { SnapshotReader } from '../../protocol/snapshot-reader.ts';
import {
  EMPTY_META,
  entryOf,
  entryView,
  type Entry,
  type SnapshotMeta,
} from '../../protocol/snapshot.ts';
import { SnapshotWriter } from '../../protocol/snapshot-writer.ts';
import { bytesBody } from '../../storage/bodies.ts';
import { MemoryObjectStore } from '../../storage/memory.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { joinVectors, type VersionVector } from '../../protocol/version-vector.ts';

export const SIGNAL = new AbortController().signal;

/** What an object holds: DBI name to entries, with flags where they are not 0. */
export type TestDbi = {
  readonly name: string;
  readonly flags?: number;
  readonly transform?: string;
  readonly entries: readonly Entry[];
};

/** State of a database: DBI name, and hex of the key, to the register. */
export type State = Map<string, Map<string, Register>>;

export function entry(key: string, value: string | undefined, time: bigint): Entry {
  return {
    key: Buffer.from(key, 'latin1'),
    value: Buffer.from(value ?? '', 'latin1'),
    timestampNs: time,
    deleted: value === undefined,
  };
}

/** The compressed bytes of a snapshot, entries in the order given. */
export function encodeSnapshot(meta: Partial<SnapshotMeta>, dbis: readonly TestDbi[]): Buffer {
  const chunks: Uint8Array[] = [];
  // Each DBI begins a block.
  const blockBytes = dbis.length > 1000 ? 1024 : undefined;
  const options = { takesLongKeys: true, blockBytes };
  const writer = new SnapshotWriter((chunk) => chunks.push(chunk), options);
  writer.begin({ ...EMPTY_META, ...meta });
  for (const { name, flags = 0, transform = '', entries } of dbis) {
    writer.beginDbi({ name, flags, transform });
    for (const one of entries) {
      writer.entry(entryView(one));
    }
    writer.endDbi();
  }
  writer.end();
  return gzipSync(Buffer.concat(chunks), { level: 1 });
}

/** Merges a snapshot's entries into a state, the plain way; returns its Meta. */
export function mergeBytes(state: State, compressed: Uint8Array): SnapshotMeta {
  let meta: SnapshotMeta = EMPTY_META;
  let dbi: Map<string, Register> = new Map();
  const reader = new SnapshotReader({
    onMeta(given) {
      meta = given;
    },
    onDbi(header) {
      dbi = state.get(header.name) ?? new Map();
      // Private DBIs never travel: every reader passes over them.
      if (!header.name.startsWith('_sync')) {
        state.set(header.name, dbi);
      }
    },
    onEntry(view) {
      const { key, value, timestampNs, deleted } = entryOf(view);
      const hex = Buffer.from(key).toString('hex');
      const incoming = { timestampNs, deleted, value: deleted ? new Uint8Array(0) : value };
      const local = dbi.get(hex);
      dbi.set(hex, local === undefined ? incoming : mergeRegisters(local, incoming));
    },
    onDbiEnd() {},
  });
  reader.push(gunzipSync(compressed));
  reader.end();
  return meta;
}

/** All bytes of an object; undefined if there is none. */
export async function readObject(store: ObjectStore, name: string): Promise<Buffer | undefined> {
  const fetched = await store.get(name, { signal: SIGNAL });
  if (fetched === undefined) {
    return undefined;
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of fetched.body) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** A state as plain data, for comparison: deletions included, DBIs without entries left out. */
export function plain(state: State): Record<string, Record<string, string>> {
  const dbis = [...state].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const result: Record<string, Record<string, string>> = {};
  for (const [name, dbi] of dbis) {
    if (dbi.size === 0) {
      continue;
    }
    const entries = [...dbi].toSorted(([a], [b]) => (a < b ? -1 : 1));
    result[name] = Object.fromEntries(
      entries.map(([key, { timestampNs, value, deleted }]) => [
        key,
        `${timestampNs} ${deleted ? 'deleted' : Buffer.from(value).toString('hex')}`,
      ]),
    );
  }
  return result;
}

/** One run of an agent that stores objects, numbered and timed as agents do. */
export class TestWriter {
  readonly instance: string;
  readonly run: string;
  seq = 0n;
  #timeNs: bigint;
  readonly #store: ObjectStore;
  readonly #schemaMode: string | undefined;

  constructor(
    store: ObjectStore,
    options: {
      readonly instance: string;
      readonly run: string;
      readonly timeNs?: bigint;
      readonly schemaMode?: string;
    },
  ) {
    this.#store = store;
    this.instance = options.instance;
    this.run = options.run;
    this.#schemaMode = options.schemaMode;
    this.#timeNs = options.timeNs ?? 1_700_000_000_000_000_000n;
  }

  get stream() {
    return streamOf(this.instance, this.run);
  }

  delta(dbis: readonly TestDbi[]): Promise<string> {
    return this.#put('delta', dbis);
  }

  /** A full snapshot whose vector is `others` and this stream at its own number. */
  snapshot(dbis: readonly TestDbi[], others: VersionVector = new Map()): Promise<string> {
    return this.#put('snapshot', dbis, { others });
  }

  /** A full snapshot whose name says that it adds nothing to this stream. */
  marked(dbis: readonly TestDbi[]): Promise<string> {
    return this.#put('snapshot', dbis, { others: new Map(), marked: true });
  }

  async #put(
    kind: 'delta' | 'snapshot',
    dbis: readonly TestDbi[],
    { others, marked }: { others?: VersionVector; marked?: boolean } = {},
  ): Promise<string> {
    this.seq += 1n;
    this.#timeNs += 1_000_000n;
    const { instance, run, seq } = this;
    const name = formatObjectName({
      database: 'main',
      instance,
      timeNs: this.#timeNs,
      run,
      seq,
      kind,
      marked,
    });
    const vector =
      others === undefined ? undefined : joinVectors(others, new Map([[this.stream, seq]]));
    const schemaMode = this.#schemaMode;
    const meta = { instance, run, seq, vector, databaseName: 'main', schemaMode };
    const bytes = encodeSnapshot(meta, dbis);
    await this.#store.create(name, bytesBody(bytes), SIGNAL);
    return name;
  }
}

/** Scratch space in memory, of at most so many bytes. */
export class MemoryScratch implements Scratch {
  live = 0;
  readonly #roomBytes: number;
  #usedBytes = 0;

  constructor({ roomBytes = Number.POSITIVE_INFINITY }: { readonly roomBytes?: number } = {}) {
    this.#roomBytes = roomBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  async freeBytes(): Promise<number> {
    return this.#roomBytes - this.#usedBytes;
  }

  async create(): Promise<ScratchFile> {
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    let removed = false;
    this.live += 1;
    const free = (): void => {
      this.live -= removed ? 0 : 1;
      this.#usedBytes -= removed ? 0 : sizeBytes;
      removed = true;
    };
    const write = (chunk: Uint8Array): void => {
      if (this.#usedBytes + chunk.length > this.#roomBytes) {
        free();
        throw new SyncError('SPOOL_FAILED', 'cannot write: no space left', { retryable: true });
      }
      chunks.push(Uint8Array.from(chunk));
      sizeBytes += chunk.length;
      this.#usedBytes += chunk.length;
    };
    return {
      get sizeBytes() {
        return sizeBytes;
      },
      async write(chunk) {
        write(chunk);
      },
      async finish() {},
      async *open() {
        yield* chunks;
      },
      async remove() {
        free();
      },
    };
  }
}

let randomState = 1;

/** Reproducible bytes, different at every call. */
export function testRandom(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, () => {
    randomState = (Math.imul(randomState, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return randomState >> 16;
  });
}

/** Compactions of a test bucket, with a clock that the test moves. */
export class TestCompactor {
  nowNs = 1_800_000_000_000_000_000n;
  readonly store: ObjectStore;
  policy: CompactionPolicy;

  constructor(store: ObjectStore | MemoryObjectStore, policy: Partial<CompactionPolicy> = {}) {
    this.store = store;
    this.policy = { ...DEFAULT_POLICY, mustKeepMs: 0, ...policy };
  }

  advanceMs(ms: number): void {
    this.nowNs += BigInt(ms) * 1_000_000n;
  }

  options(overrides: Partial<CompactOptions> = {}): CompactOptions {
    return {
      store: this.store,
      database: 'main',
      scratch: new MemoryScratch(),
      policy: this.policy,
      signal: SIGNAL,
      nowNs: () => this.nowNs,
      monotonicMs: () => 0,
      random: testRandom,
      writer: 'test',
      ...overrides,
    };
  }

  run(overrides: Partial<CompactOptions> = {}): Promise<CompactionReport> {
    this.advanceMs(1);
    return compact(this.options(overrides));
  }
}

/** Names in the bucket, ascending. */
export async function names(store: ObjectStore): Promise<string[]> {
  const all: string[] = [];
  for await (const { name } of store.list('', { signal: SIGNAL })) {
    all.push(name);
  }
  return all;
}

/** The store, with some of its methods replaced. */
export function overriding(store: ObjectStore, methods: Partial<ObjectStore>): ObjectStore {
  return new Proxy(store, {
    get: (target, key) => {
      const own: unknown = Reflect.get(methods, key);
      const member: unknown = own ?? Reflect.get(target, key);
      return own === undefined && typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

/** What is published of the database `main`. Errors: MESSAGE_INVALID if nothing is. */
export async function manifestOf(store: ObjectStore): Promise<Manifest> {
  return parseManifest((await readObject(store, manifestName('main'))) ?? Buffer.alloc(0));
}

/** The content of an object with one DBI. */
export function records(...entries: Entry[]): TestDbi[] {
  return [{ name: 'records', entries }];
}

/** An empty bucket, two instances that write into it, and a compactor. */
export function twoWriters(policy: Partial<CompactionPolicy> = {}): {
  readonly store: MemoryObjectStore;
  readonly a: TestWriter;
  readonly b: TestWriter;
  readonly compactor: TestCompactor;
} {
  const store = new MemoryObjectStore();
  const a = new TestWriter(store, { instance: 'a', run: 'run1' });
  const b = new TestWriter(store, { instance: 'b', run: 'run2' });
  return { store, a, b, compactor: new TestCompactor(store, policy) };
}
