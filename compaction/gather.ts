import { requireMatchingMeta } from '../protocol/delta.ts';
import { SyncError, errorText } from '../protocol/errors.ts';
import { databasePrefix, parseObjectName } from '../protocol/object-name.ts';
import { boundedRejoin, type SchemaMode } from '../protocol/snapshot-meta.ts';
import type { ClaimedState, Claims } from './claims.ts';
import type { FoldMode } from './fold-mode.ts';
import type { SnapshotSource } from './merge/cursor.ts';
import type { DbiTable } from './merge/dbi-table.ts';
import {
  FAILED_LOADS_MAX,
  GAP_AGE_MS,
  SMALL_OBJECT_BYTES,
  SMALL_OBJECT_CONCURRENCY,
} from './limits.ts';
import type { StoredObject } from './listing.ts';
import { checkSnapshot, loadInto } from './merge/load.ts';
import type { LeftAlone, TailPlan } from './plan.ts';
import { type CompactOptions, checkTime } from './run-context.ts';
import { Sorter } from './merge/sorter.ts';
import { readBounded } from '../storage/read-bounded.ts';

/** An object that was not folded, for itself or for others like it. It stays, and blocks dropping tombstones. */
export type Unreadable = LeftAlone;

/** What a run has read. */
export type Gathered = {
  /** What the published state and everything gathered cover together. */
  readonly state: ClaimedState;
  /** The highest that a gathered full state says; see `Manifest`. */
  readonly rejoinBeforeNs: bigint;
  readonly schemaMode: SchemaMode | undefined;
  readonly sources: readonly SnapshotSource[];
  readonly sorter: Sorter;
  /** Objects that were read and are covered now. */
  readonly claimed: readonly StoredObject[];
  readonly unreadable: readonly Unreadable[];
  /** Everything listed is covered now, but for what is set aside. */
  readonly isWhole: boolean;
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
  readonly #claims: Claims;
  readonly #read: StoredObject[] = [];
  readonly #unreadable: Unreadable[] = [];
  /** Something planned was not read: it is gone, cannot be read, or must wait. */
  #hasLeft = false;
  #rejoinBeforeNs = 0n;
  #isWhole = false;
  #spooledBytes = 0;
  #failedLoads = 0;

  constructor(claims: Claims, options: GatherOptions) {
    const { run, table } = options;
    this.#options = options;
    this.#claims = claims;
    this.#sorter = new Sorter({ table, scratch: run.scratch, checkTime: () => checkTime(run) });
  }

  get result(): Gathered {
    return {
      state: this.#claims.state,
      rejoinBeforeNs: this.#rejoinBeforeNs,
      schemaMode: this.#options.mode.known,
      sources: this.#sources,
      sorter: this.#sorter,
      claimed: this.#read.filter((object) => this.#claims.covers(object)),
      unreadable: this.#unreadable,
      isWhole: this.#isWhole,
    };
  }

  /** Reads what is planned, as far as the time goes. Errors: those of the store, when it fails over and over. */
  async gather(plan: TailPlan): Promise<void> {
    for (const snapshot of plan.snapshots) {
      if (this.#isCovered(snapshot, plan)) {
        continue;
      }
      const fits =
        this.#spooledBytes === 0 ||
        this.#spooledBytes + snapshot.sizeBytes <= this.#options.run.policy.spoolBytesMax;
      if (this.#inTime() && fits) {
        await this.#take(snapshot, await this.#fetch(snapshot));
      } else {
        this.#hasLeft = true;
      }
    }
    const deltas = plan.deltas.filter((delta) => !this.#isCovered(delta, plan));
    if ((await this.#takeAll(deltas)) < deltas.length) {
      this.#hasLeft = true;
    }
    await this.#takeMarked(plan);
    this.#unreadable.push(...plan.overLimit);
    if (plan.isWhole && !this.#hasLeft) {
      await this.#closeGaps([...plan.snapshots, ...plan.deltas, ...plan.marked]);
    }
  }

  /**
   * Everything listed was read. A number that is missing below another one was deleted then, or the listing began before
   * it was stored: so the gap must be old, and still be there in a second listing.
   */
  async #closeGaps(read: readonly StoredObject[]): Promise<void> {
    const { run } = this.#options;
    const above = read.filter((object) => !this.#claims.covers(object));
    const closedBeforeMs = Number(run.nowNs() / 1_000_000n) - GAP_AGE_MS;
    if (above.some(({ lastModifiedMs }) => lastModifiedMs > closedBeforeMs)) {
      return;
    }
    if (above.length > 0 && (await this.#isMoreListed(above))) {
      return;
    }
    this.#claims.closeGaps(above);
    this.#isWhole = true;
  }

  /** True if the bucket has an object of these streams that was not read and is not covered. */
  async #isMoreListed(above: readonly StoredObject[]): Promise<boolean> {
    const { store, database, signal } = this.#options.run;
    const streams = new Set(above.map(({ stream }) => stream));
    const read = new Set(above.map(({ name }) => name));
    for await (const { name } of store.list(databasePrefix(database), { signal })) {
      const object = parseObjectName(name);
      const isOfGap = object !== undefined && streams.has(object.stream) && !read.has(name);
      if (isOfGap && !this.#claims.covers(object)) {
        return true;
      }
    }
    return false;
  }

  /** When what they follow is read: most of them are passed over then. */
  async #takeMarked(plan: TailPlan): Promise<void> {
    for (const snapshot of plan.marked) {
      if (this.#isCovered(snapshot, plan)) {
        continue;
      }
      if (!plan.doubles.has(snapshot.name) && this.#claims.passOver(snapshot)) {
        this.#read.push(snapshot);
      } else if (this.#inTime()) {
        await this.#take(snapshot, await this.#fetch(snapshot));
      } else {
        this.#hasLeft = true;
      }
    }
  }

  /** By something that was read in this run: the plan has nothing that was covered before. */
  #isCovered(object: StoredObject, plan: TailPlan): boolean {
    return this.#claims.covers(object) && !plan.doubles.has(object.name);
  }

  /** How many it has tried. */
  async #takeAll(waiting: readonly StoredObject[]): Promise<number> {
    let at = 0;
    const fetched: Promise<Fetched>[] = [];
    try {
      for (; at < waiting.length && this.#inTime(); at++) {
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
    return at;
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
      // A scratch folder that is full says nothing about the object.
      if (error instanceof SyncError && error.code !== 'SPOOL_FAILED') {
        return { kind: 'failed', error };
      }
      throw error;
    }
  }

  async #take(object: StoredObject, fetched: Fetched): Promise<void> {
    if (fetched.kind === 'gone') {
      // Deleted since it was listed: it was covered by a state newer than the one this run builds on.
      this.#hasLeft = true;
      return;
    }
    if (fetched.kind === 'failed') {
      this.#hasLeft = true;
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
      this.#hasLeft = true;
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
    this.#options.mode.admit(meta.schemaMode, dbis);
    table.addAll(dbis);
    if (fetched.large && sorted) {
      this.#sources.push(source);
    } else {
      await loadInto(this.#sorter, source, context);
      await fetched.remove();
    }
    const rejoinBeforeNs = boundedRejoin(meta.rejoinBeforeNs, {
      nowNs: run.nowNs(),
      retentionMs: run.policy.tombstoneRetentionMs,
    });
    if (rejoinBeforeNs > this.#rejoinBeforeNs) {
      this.#rejoinBeforeNs = rejoinBeforeNs;
    }
    this.#read.push(object);
    if (object.kind === 'delta') {
      this.#claims.readDelta(object);
    } else {
      this.#claims.readFull(object);
    }
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
