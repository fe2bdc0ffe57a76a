import type { Clock } from '../../protocol/time.ts';
import type { EarlierObjects } from './listing.ts';
import type { EngineSettings } from './types.ts';

export type FullSnapshotReason =
  | 'first object'
  | 'objects lost'
  | 'many deltas'
  | 'interval'
  | 'upstream readers';

/** Below this the bytes of deltas never make a full snapshot due: it would save nobody anything. */
const MIN_DELTA_BYTES = 256 * 1024;

/**
 * Decides when the next object must be a full snapshot instead of a delta. With a healthy compactor the counts
 * start again at every published base, so it rarely is.
 */
export class FullSnapshotPolicy {
  readonly #settings: EngineSettings;
  readonly #clock: Clock;
  #first = false;
  #lost = false;
  /** To be called when all that this LMDB holds is stored again. */
  #onStored = (): void => undefined;
  #upstreamDue = false;
  #isEnding = false;
  /** LMDB transaction of the last own full snapshot, -1 before the first. */
  #fullTxn = -1;
  #deltas = 0;
  #deltaBytes = 0;
  /** The same of earlier runs, until this one has stored a full snapshot. */
  #earlierDeltas = 0;
  #earlierBytes = 0;
  #fullBytes = 0;
  #hasStoredFull = false;
  #lastFullNs: bigint;

  constructor(settings: EngineSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
    this.#lastFullNs = clock.nowNs();
  }

  /** Nothing of this LMDB is in the bucket as far as we know. */
  requireFirst(): void {
    this.#first = true;
  }

  /** Nothing of this LMDB has been stored yet. */
  get isFirst(): boolean {
    return this.#first;
  }

  /** Something that we stored is nowhere in the bucket. */
  requireAgain(onStored: () => void = this.#onStored): void {
    this.#lost = true;
    this.#onStored = onStored;
  }

  /** Upstream would read another object than our newest full snapshot as this instance's newest. */
  requireForUpstream(): void {
    this.#upstreamDue = true;
  }

  /** This run is about to end: upstream readers would wait for its next start. */
  end(): void {
    this.#isEnding = true;
  }

  /** Upstream readers have an older state than this, and get the next when the interval has passed. */
  isUpstreamBehind(dataTxnId: number): boolean {
    return this.#settings.upstreamReaders && (this.#upstreamDue || dataTxnId > this.#fullTxn);
  }

  /** At start, the newest own object in the bucket is a full snapshot: upstream readers have a recent state. */
  assumeUpstreamHas(dataTxnId: number): void {
    this.#fullTxn = dataTxnId;
  }

  /** What earlier runs have left: the bounds hold over restarts, or short runs would never reach them. */
  noteEarlier({ full, deltas, deltaBytes }: EarlierObjects): void {
    // A listing from before that snapshot would count what it has made superfluous.
    if (this.#hasStoredFull) {
      return;
    }
    this.#earlierDeltas = deltas;
    this.#earlierBytes = deltaBytes;
    if (full === undefined) {
      return;
    }
    this.#fullBytes = full.sizeBytes;
    const nowNs = this.#clock.nowNs();
    // A name from the future, by a clock that was wrong, must not put the next one off.
    this.#lastFullNs = full.timeNs < nowNs ? full.timeNs : nowNs;
  }

  /** A published base contains everything of ours up to now but `deltas` objects. */
  coveredByBase(deltas: number): void {
    if (deltas >= this.#deltas) {
      return;
    }
    this.#deltaBytes = Math.round((this.#deltaBytes * deltas) / this.#deltas);
    this.#deltas = deltas;
  }

  deltaStored(sizeBytes: number): void {
    this.#deltas += 1;
    this.#deltaBytes += sizeBytes;
  }

  fullStored(sizeBytes: number, dataTxnId: number): void {
    this.#first = false;
    if (this.#lost) {
      this.#onStored();
    }
    this.#lost = false;
    this.#upstreamDue = false;
    this.#hasStoredFull = true;
    this.#deltas = 0;
    this.#deltaBytes = 0;
    this.#earlierDeltas = 0;
    this.#earlierBytes = 0;
    this.#fullBytes = sizeBytes;
    this.#fullTxn = dataTxnId;
    this.#lastFullNs = this.#clock.nowNs();
  }

  /** Why a full snapshot must be next, if so. `dataTxnId`: the LMDB's last transaction that changed data. */
  dueReason(dataTxnId: number): FullSnapshotReason | undefined {
    if (this.#first) {
      return 'first object';
    }
    if (this.#lost) {
      return 'objects lost';
    }
    if (this.#deltas + this.#earlierDeltas >= this.#settings.maxDeltas) {
      return 'many deltas';
    }
    const bytesBound = Math.max(MIN_DELTA_BYTES, this.#fullBytes * this.#settings.maxDeltaFraction);
    if (this.#fullBytes > 0 && this.#deltaBytes + this.#earlierBytes > bytesBound) {
      return 'many deltas';
    }
    const sinceFullMs = Number(this.#clock.nowNs() - this.#lastFullNs) / 1e6;
    const { forceSnapshotIntervalMs } = this.#settings;
    if (forceSnapshotIntervalMs > 0 && sinceFullMs >= forceSnapshotIntervalMs) {
      return 'interval';
    }
    const rested = this.#fullTxn < 0 || sinceFullMs >= this.#settings.upstreamSnapshotMinIntervalMs;
    const isTime = rested || this.#isEnding;
    return isTime && this.isUpstreamBehind(dataTxnId) ? 'upstream readers' : undefined;
  }

  /** Milliseconds until `dueReason` may change by time alone. */
  nextCheckMs(dataTxnId: number): number {
    const sinceFullMs = Number(this.#clock.nowNs() - this.#lastFullNs) / 1e6;
    const waits = [Number.POSITIVE_INFINITY];
    const { forceSnapshotIntervalMs, upstreamSnapshotMinIntervalMs } = this.#settings;
    if (forceSnapshotIntervalMs > 0) {
      waits.push(forceSnapshotIntervalMs - sinceFullMs);
    }
    if (this.isUpstreamBehind(dataTxnId)) {
      waits.push(upstreamSnapshotMinIntervalMs - sinceFullMs);
    }
    return Math.max(0, Math.min(...waits));
  }
}
