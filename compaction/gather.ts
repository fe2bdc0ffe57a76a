import { requireMatchingMeta } from '../protocol/delta.ts';
import { SyncError, errorText } from '../protocol/errors.ts';
import { requireSchemaMode, type SchemaMode } from '../protocol/snapshot-meta.ts';
import { readSnapshotHead } from '../protocol/snapshot-reader.ts';
import {
  type VersionVector,
  advanceVector,
  covers,
  joinVectors,
} from '../protocol/version-vector.ts';
import type { SnapshotSource } from './merge/cursor.ts';
import type { DbiTable } from './merge/dbi-table.ts';
import {
  FAILED_LOADS_MAX,
  FOLD_MODE_INSTANCES_MAX,
  SMALL_OBJECT_BYTES,
  SMALL_OBJECT_CONCURRENCY,
} from './limits.ts';
import type { StoredObject } from './listing.ts';
import { checkSnapshot, loadInto } from './merge/load.ts';
import type { TailPlan } from './plan.ts';
import { type CompactOptions, checkTime } from './run-context.ts';
import { Sorter } from './merge/sorter.ts';
import { readBounded } from '../storage/read-bounded.ts';

/** Bytes of an object that are read for its Meta. */
const HEAD_BYTES = 64 * 1024;

/** An object that could not be read. It stays in the bucket, and blocks dropping tombstones. */
export type Unreadable = { readonly name: string; readonly reason: string };

/** What a run has read. */
export type Gathered = {
  /** What the published state and everything gathered cover together. */
  readonly vector: VersionVector;
  /** The highest that a gathered full state says; see `Manifest`. */
  readonly rejoinBeforeNs: bigint;
  readonly schemaMode: SchemaMode | undefined;
  readonly sources: readonly SnapshotSource[];
  readonly sorter: Sorter;
  /** Objects that moved the vector. */
  readonly claimed: readonly StoredObject[];
  readonly unreadable: readonly Unreadable[];
};

/** Options of a {@link Gatherer}. */
export type GatherOptions = {
  readonly run: CompactOptions;
  readonly table: DbiTable;
  readonly mode: FoldMode;
  /** Time of the monotonic clock after which no further object is begun. */
  readonly untilMs: number;
};

/** Downloads, checks and sorts what a run folds. Small objects at once, large ones by way of the scratch store. */
export class Gatherer {
  readonly #options: GatherOptions;
  readonly #sorter: Sorter;
  readonly #sources: SnapshotSource[] = [];
  readonly #claimed: StoredObject[] = [];
  readonly #unreadable: Unreadable[] = [];
  readonly #tried = new Set<string>();
  #vector: VersionVector;
  #rejoinBeforeNs = 0n;
  #spooledBytes = 0;
  #failedLoads = 0;

  constructor(vector: VersionVector, options: GatherOptions) {
    const { run, table } = options;
    this.#options = options;
    this.#vector = vector;
    this.#sorter = new Sorter({ table, scratch: run.scratch, checkTime: () => checkTime(run) });
  }

  get result(): Gathered {
    return {
      vector: this.#vector,
      rejoinBeforeNs: this.#rejoinBeforeNs,
      schemaMode: this.#options.mode.known,
      sources: this.#sources,
      sorter: this.#sorter,
      claimed: this.#claimed,
      unreadable: this.#unreadable,
    };
  }

  /** Reads what is planned, as far as the time goes. Errors: those of the store, when it fails over and over. */
  async gather(plan: TailPlan): Promise<void> {
    for (const snapshot of plan.snapshots) {
      const fits =
        this.#spooledBytes === 0 ||
        this.#spooledBytes + snapshot.sizeBytes <= this.#options.run.policy.spoolBytesMax;
      if (this.#inTime() && fits && !covers(this.#vector, snapshot)) {
        await this.#take(snapshot, await this.#fetch(snapshot));
      }
    }
    await this.#takeAll(plan.deltas);
  }

  /** Reads deltas behind gaps for their content alone. */
  async gatherUnclaimed(deltas: readonly StoredObject[]): Promise<void> {
    await this.#takeAll(deltas);
  }

  async #takeAll(deltas: readonly StoredObject[]): Promise<void> {
    const waiting = deltas.filter((delta) => !this.#tried.has(delta.name));
    const fetched: Promise<Fetched>[] = [];
    try {
      for (let at = 0; at < waiting.length && this.#inTime(); at++) {
        while (fetched.length < SMALL_OBJECT_CONCURRENCY && at + fetched.length < waiting.length) {
          const ahead = waiting[at + fetched.length];
          if (ahead === undefined || (ahead.sizeBytes > SMALL_OBJECT_BYTES && fetched.length > 0)) {
            break;
          }
          const begun = this.#fetch(ahead);
          // Whoever takes it sees the error; until then it must not count as unhandled.
          begun.catch(() => undefined);
          fetched.push(begun);
        }
        const delta = waiting[at];
        const next = fetched.shift();
        if (delta !== undefined && next !== undefined) {
          await this.#take(delta, await next);
        }
      }
    } finally {
      // What was begun and is not needed any more must still end, or fail, here.
      await Promise.allSettled(fetched);
    }
  }

  #inTime(): boolean {
    checkTime(this.#options.run);
    return this.#options.run.monotonicMs() < this.#options.untilMs;
  }

  /** Downloads an object; never rejects but for an abort. */
  async #fetch(object: StoredObject): Promise<Fetched> {
    const { store, signal, scratch } = this.#options.run;
    try {
      const fetched = await store.get(object.name, { signal });
      if (fetched === undefined) {
        return { kind: 'gone' };
      }
      if (fetched.sizeBytes <= SMALL_OBJECT_BYTES) {
        const bytes = await readBounded(fetched.body, SMALL_OBJECT_BYTES);
        return { kind: 'fetched', large: false, remove: async () => {}, open: () => once(bytes) };
      }
      const file = await scratch.create();
      for await (const chunk of fetched.body) {
        checkTime(this.#options.run);
        await file.write(chunk);
      }
      await file.finish();
      this.#spooledBytes += fetched.sizeBytes;
      return { kind: 'fetched', large: true, remove: () => file.remove(), open: () => file.open() };
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof SyncError) {
        return { kind: 'failed', error };
      }
      throw error;
    }
  }

  async #take(object: StoredObject, fetched: Fetched): Promise<void> {
    this.#tried.add(object.name);
    if (fetched.kind === 'gone') {
      // Deleted since it was listed: it was covered by a state newer than the one this run builds on.
      return;
    }
    if (fetched.kind === 'failed') {
      this.#failedLoads += 1;
      if (this.#failedLoads >= FAILED_LOADS_MAX || fetched.error.code === 'STORAGE_DENIED') {
        throw fetched.error;
      }
      this.#unreadable.push({ name: object.name, reason: errorText(fetched.error) });
      return;
    }
    try {
      await this.#merge(object, fetched);
    } catch (error) {
      if (!(error instanceof SyncError) || !error.code.startsWith('SNAPSHOT_')) {
        throw error;
      }
      await fetched.remove();
      this.#unreadable.push({ name: object.name, reason: errorText(error) });
    }
  }

  async #merge(object: StoredObject, fetched: FetchedBytes): Promise<void> {
    const { run, table } = this.#options;
    const context = { table, checkTime: () => checkTime(run) };
    const source = { name: object.name, existing: false, open: () => fetched.open() };
    const { meta, sorted, dbis } = await checkSnapshot(source, {
      ...context,
      entryBytesMax: run.policy.entryBytesMax,
    });
    requireMatchingMeta(object, meta);
    this.#options.mode.admit(meta.schemaMode);
    table.addAll(dbis);
    if (fetched.large && sorted) {
      this.#sources.push(source);
    } else {
      await loadInto(this.#sorter, source, context);
      await fetched.remove();
    }
    const { rejoinBeforeNs = 0n } = meta;
    if (rejoinBeforeNs > this.#rejoinBeforeNs) {
      this.#rejoinBeforeNs = rejoinBeforeNs;
    }
    this.#claim(object, meta.vector);
  }

  /** A full state brings its vector; a delta counts only behind its predecessor, or it would hide a gap. */
  #claim(object: StoredObject, vector: VersionVector | undefined): void {
    if (object.kind === 'delta' && object.seq !== (this.#vector.get(object.stream) ?? 0n) + 1n) {
      return;
    }
    const joined = vector === undefined ? this.#vector : joinVectors(this.#vector, vector);
    this.#vector = advanceVector(joined, object);
    this.#claimed.push(object);
  }
}

type FetchedBytes = {
  readonly kind: 'fetched';
  readonly large: boolean;
  open(): AsyncIterable<Uint8Array>;
  remove(): Promise<void>;
};
type Fetched =
  | FetchedBytes
  | { readonly kind: 'gone' }
  | { readonly kind: 'failed'; readonly error: SyncError };

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/**
 * The one schema mode of what a run folds: a base of both would hand values with a header too many, or one too few, to
 * every reader, and what it covers is deleted.
 */
export class FoldMode {
  #known: SchemaMode | undefined;
  readonly #disputed: boolean;

  constructor(known: SchemaMode | undefined, options: { readonly disputed?: boolean } = {}) {
    this.#known = known;
    this.#disputed = options.disputed ?? false;
  }

  /** undefined: nothing that was admitted has stated one. */
  get known(): SchemaMode | undefined {
    return this.#known;
  }

  /** Throws for an object that must be left alone. Errors: SNAPSHOT_OTHER_MODE. */
  admit(stated: string | undefined): void {
    if (stated === undefined) {
      return;
    }
    if (this.#disputed) {
      throw new SyncError(
        'SNAPSHOT_OTHER_MODE',
        `written in ${stated.slice(0, 40)} schema mode, and as many instances have another one`,
        {
          hint: 'Set `schema_tracks_changes` to what fits the application, the same on all hosts.',
        },
      );
    }
    if (this.#known === undefined && (stated === 'native' || stated === 'shadow')) {
      this.#known = stated;
      return;
    }
    requireSchemaMode(stated, this.#known ?? 'native');
  }
}

/**
 * The mode of the published state. Where that states none, the one that most instances have by their newest objects, so
 * that one host in the wrong mode never decides for all; with a tie nothing that states a mode is folded.
 *
 * Requests: none, or a ranged GET per instance.
 */
export async function chooseFoldMode(
  published: SchemaMode | undefined,
  { run, tail }: { readonly run: CompactOptions; readonly tail: TailPlan },
): Promise<FoldMode> {
  if (published !== undefined) {
    return new FoldMode(published);
  }
  const votes = { native: 0, shadow: 0 };
  for (const object of newestPerInstance(tail)) {
    checkTime(run);
    const stated = await statedMode(object, run);
    if (stated === 'native' || stated === 'shadow') {
      votes[stated] += 1;
    }
  }
  if (votes.native === votes.shadow) {
    return new FoldMode(undefined, { disputed: votes.native > 0 });
  }
  return new FoldMode(votes.native > votes.shadow ? 'native' : 'shadow');
}

function newestPerInstance({ snapshots, deltas }: TailPlan): StoredObject[] {
  const newest = new Map<string, StoredObject>();
  for (const object of [...snapshots, ...deltas]) {
    const known = newest.get(object.instance);
    if (object.ours && (known === undefined || known.timeNs < object.timeNs)) {
      newest.set(object.instance, object);
    }
  }
  return [...newest.values()].slice(0, FOLD_MODE_INSTANCES_MAX);
}

/** undefined: it states none, or cannot be read; whoever reads the whole of it will say why. */
async function statedMode(
  { name }: StoredObject,
  { store, signal }: CompactOptions,
): Promise<string | undefined> {
  try {
    const got = await store.get(name, { signal, firstBytes: HEAD_BYTES });
    return got === undefined ? undefined : (await readSnapshotHead(got.body)).meta.schemaMode;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof SyncError) {
      return undefined;
    }
    throw error;
  }
}
