import type {
  DatabaseStats,
  Detection,
  EncodeOptions,
  EncodeResult,
  EntryKey,
  FinishRejoinOptions,
  LocalDatabase,
  MergeRequest,
  MergeResult,
  OpenResult,
  PersistOptions,
  RejoinResult,
  SnapshotOptions,
  ReopenOptions,
  SweepOptions,
  SweepSlice,
} from '../lmdb/local-database.ts';
import type { Loop } from './watchdog.ts';

/** The LMDB as one loop uses it: while it waits for a call it is due. */
export class WatchedDatabase implements LocalDatabase {
  readonly #db: LocalDatabase;
  readonly #loop: Loop;

  constructor(db: LocalDatabase, loop: Loop) {
    this.#db = db;
    this.#loop = loop;
  }

  open(): Promise<OpenResult> {
    return this.#loop.during('the LMDB to open', () => this.#db.open());
  }

  reopen(options: ReopenOptions): Promise<OpenResult> {
    return this.#loop.during('the LMDB to open again', () => this.#db.reopen(options));
  }

  detect(): Promise<Detection> {
    return this.#loop.during('the LMDB to show what changed', () => this.#db.detect());
  }

  encodeDelta(options: EncodeOptions): Promise<EncodeResult> {
    return this.#loop.during('the LMDB to encode a delta', () => this.#db.encodeDelta(options));
  }

  encodeSnapshot(options: SnapshotOptions): Promise<EncodeResult> {
    return this.#loop.during('the LMDB to encode a full snapshot', () =>
      this.#db.encodeSnapshot(options),
    );
  }

  acknowledge(token: number): Promise<void> {
    return this.#db.acknowledge(token);
  }

  giveBack(token: number): Promise<Detection> {
    return this.#loop.during('the LMDB to take back what was not sent', () =>
      this.#db.giveBack(token),
    );
  }

  merge(request: MergeRequest): Promise<MergeResult> {
    return this.#loop.during(`the LMDB to merge ${request.name}`, () => this.#db.merge(request));
  }

  persist(options: PersistOptions): Promise<Detection> {
    return this.#loop.during('the LMDB to take the sync state', () => this.#db.persist(options));
  }

  sweep(options: SweepOptions): Promise<SweepSlice> {
    return this.#loop.during('the LMDB to sweep', () => this.#db.sweep(options));
  }

  beginRejoin(): Promise<void> {
    return this.#loop.during('the LMDB to begin a rejoin', () => this.#db.beginRejoin());
  }

  abandonRejoin(): Promise<void> {
    return this.#loop.during('the LMDB to give up a rejoin', () => this.#db.abandonRejoin());
  }

  finishRejoin(options: FinishRejoinOptions): Promise<RejoinResult> {
    return this.#loop.during('the LMDB to finish a rejoin', () => this.#db.finishRejoin(options));
  }

  values(entries: readonly EntryKey[]): Promise<(Uint8Array | undefined)[]> {
    return this.#loop.during('the LMDB to show values', () => this.#db.values(entries));
  }

  stats(): Promise<DatabaseStats> {
    return this.#loop.during('the LMDB to show its size', () => this.#db.stats());
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}
