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
} from './local-database.ts';

/** Who is told. Neither must throw. */
type LookListener = {
  readonly onDetection: (detection: Detection) => void;
  /** A call that looks has failed. */
  readonly onFailure: (error: unknown) => void;
};

/**
 * A LocalDatabase that tells one listener what every look at the LMDB found, whichever call took the look.
 *
 * The listener is told before the call settles, so a caller that goes on knows what its own look found. The order is
 * that of the looks.
 */
export class ReportingDatabase implements LocalDatabase {
  readonly #inner: LocalDatabase;
  readonly #listener: LookListener;

  constructor(inner: LocalDatabase, listener: LookListener) {
    this.#inner = inner;
    this.#listener = listener;
  }

  open(): Promise<OpenResult> {
    return this.#looking(this.#inner.open());
  }

  detect(): Promise<Detection> {
    return this.#looking(this.#inner.detect());
  }

  encodeDelta(options: EncodeOptions): Promise<EncodeResult> {
    return this.#working(this.#inner.encodeDelta(options));
  }

  encodeSnapshot(options: SnapshotOptions): Promise<EncodeResult> {
    return this.#working(this.#inner.encodeSnapshot(options));
  }

  acknowledge(token: number): Promise<void> {
    return this.#inner.acknowledge(token);
  }

  giveBack(token: number): Promise<Detection> {
    return this.#looking(this.#inner.giveBack(token));
  }

  merge(request: MergeRequest): Promise<MergeResult> {
    return this.#working(this.#inner.merge(request));
  }

  persist(options: PersistOptions): Promise<Detection> {
    return this.#looking(this.#inner.persist(options));
  }

  sweep(options: SweepOptions): Promise<SweepSlice> {
    return this.#working(this.#inner.sweep(options));
  }

  beginRejoin(): Promise<void> {
    return this.#inner.beginRejoin();
  }

  abandonRejoin(): Promise<void> {
    return this.#inner.abandonRejoin();
  }

  finishRejoin(options: FinishRejoinOptions): Promise<RejoinResult> {
    return this.#working(this.#inner.finishRejoin(options));
  }

  values(entries: readonly EntryKey[]): Promise<(Uint8Array | undefined)[]> {
    return this.#inner.values(entries);
  }

  stats(): Promise<DatabaseStats> {
    return this.#inner.stats();
  }

  reopen(options: ReopenOptions): Promise<OpenResult> {
    return this.#inner.reopen(options);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  /** A call whose result is a detection. */
  async #looking<T extends Detection>(call: Promise<T>): Promise<T> {
    const detection = await this.#watched(call);
    this.#listener.onDetection(detection);
    return detection;
  }

  /** A call that looks first, and has the detection beside what it did. */
  async #working<T extends { readonly detection: Detection }>(call: Promise<T>): Promise<T> {
    const result = await this.#watched(call);
    this.#listener.onDetection(result.detection);
    return result;
  }

  async #watched<T>(call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (error) {
      this.#listener.onFailure(error);
      throw error;
    }
  }
}
