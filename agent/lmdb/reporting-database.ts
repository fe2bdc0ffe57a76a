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
  SweepOptions,
  SweepSlice,
} from './local-database.ts';

/**
 * A LocalDatabase that tells one listener what every look at the LMDB found, whichever call took the look.
 *
 * `onDetection` runs before the call resolves, so a caller that goes on knows what its own look found. The order is
 * that of the looks. It must not throw.
 */
export class ReportingDatabase implements LocalDatabase {
  readonly #inner: LocalDatabase;
  readonly #onDetection: (detection: Detection) => void;

  constructor(inner: LocalDatabase, onDetection: (detection: Detection) => void) {
    this.#inner = inner;
    this.#onDetection = onDetection;
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

  encodeSnapshot(options: EncodeOptions): Promise<EncodeResult> {
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

  close(): Promise<void> {
    return this.#inner.close();
  }

  /** A call whose result is a detection. */
  async #looking<T extends Detection>(call: Promise<T>): Promise<T> {
    const detection = await call;
    this.#onDetection(detection);
    return detection;
  }

  /** A call that looks first, and has the detection beside what it did. */
  async #working<T extends { readonly detection: Detection }>(call: Promise<T>): Promise<T> {
    const result = await call;
    this.#onDetection(result.detection);
    return result;
  }
}
