import type { Clock } from '../../../protocol/time.ts';

/** When full snapshots are wanted; durations in milliseconds. */
export type FullSnapshotSettings = {
  /** Upstream instances read this bucket: every change also goes out as a full snapshot, at a bounded rate. */
  readonly upstreamReaders: boolean;
  readonly upstreamSnapshotMinIntervalMs: number;
  /** 0 = never only because time passed. */
  readonly forceSnapshotIntervalMs: number;
  /** A full snapshot is due when this many deltas came after the last full state of ours. */
  readonly maxDeltas: number;
  /** ... or when their bytes exceed this fraction of that state's size. */
  readonly maxDeltaFraction: number;
};

/** What an instance's earlier runs have left in the bucket. */
export type EarlierObjects = {
  /** The newest full snapshot of any run, this one included. */
  readonly full: { readonly timeNs: bigint; readonly sizeBytes: number } | undefined;
  /** Deltas of earlier runs that neither it nor the published base makes superfluous. */
  readonly deltas: number;
  readonly deltaBytes: number;
};

export type FullSnapshotReason =
  | 'first object'
  | 'objects lost'
  | 'many deltas'
  | 'interval'
  | 'upstream readers';

/** What such a snapshot has to bring by itself: a delta before it would not reach those who need it. */
const WHOLE: ReadonlySet<FullSnapshotReason> = new Set(['first object', 'objects lost']);

/** True if readers that have all objects before it need not read a full snapshot that is due for this reason. */
export function mayFollowNews(reason: FullSnapshotReason): boolean {
  return !WHOLE.has(reason);
}

/** Below this the bytes of deltas never make a full snapshot due: it would save nobody anything. */
const MIN_DELTA_BYTES = 256 * 1024;

/**
 * Decides when a full snapshot is due. With a healthy compactor it rarely is: the counts start again at every published
 * base, and while a base holds all of this instance, time alone makes none due. Not where upstream reads the bucket:
 * it reads no base.
 */
export class FullSnapshotPolicy {
  readonly #settings: FullSnapshotSettings;
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
  #isBased = false;
  /** When a base last held everything. */
  #basedNs = 0n;

  constructor(settings: FullSnapshotSettings, clock: Clock) {
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

  /** Whether a published base holds all that this instance has stored. */
  noteBase(holdsAll: boolean): void {
    if (holdsAll || this.#isBased) {
      this.#basedNs = this.#clock.nowNs();
    }
    this.#isBased = holdsAll;
  }

  /** A first object that is a delta has all that did not come from others. */
  deltaStored(sizeBytes: number): void {
    this.#first = false;
    this.noteBase(false);
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
    this.noteBase(false);
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
    if (this.#lost) {
      return 'objects lost';
    }
    if (this.#first) {
      return 'first object';
    }
    if (this.#deltas + this.#earlierDeltas >= this.#settings.maxDeltas) {
      return 'many deltas';
    }
    const bytesBound = Math.max(MIN_DELTA_BYTES, this.#fullBytes * this.#settings.maxDeltaFraction);
    if (this.#fullBytes > 0 && this.#deltaBytes + this.#earlierBytes > bytesBound) {
      return 'many deltas';
    }
    if (this.#intervalMs <= 0) {
      return 'interval';
    }
    const sinceFullMs = this.#sinceMs(this.#lastFullNs);
    const rested = this.#fullTxn < 0 || sinceFullMs >= this.#settings.upstreamSnapshotMinIntervalMs;
    const isTime = rested || this.#isEnding;
    return isTime && this.isUpstreamBehind(dataTxnId) ? 'upstream readers' : undefined;
  }

  /** Milliseconds until `dueReason` may change by time alone. */
  nextCheckMs(dataTxnId: number): number {
    const waits = [this.#intervalMs];
    if (this.isUpstreamBehind(dataTxnId)) {
      const sinceFullMs = this.#sinceMs(this.#lastFullNs);
      waits.push(this.#settings.upstreamSnapshotMinIntervalMs - sinceFullMs);
    }
    return Math.max(0, Math.min(...waits));
  }

  /** Milliseconds until time makes one due. */
  get #intervalMs(): number {
    const { forceSnapshotIntervalMs, upstreamReaders } = this.#settings;
    if (forceSnapshotIntervalMs <= 0 || (this.#isBased && !upstreamReaders)) {
      return Number.POSITIVE_INFINITY;
    }
    const isBaseLater = !upstreamReaders && this.#basedNs > this.#lastFullNs;
    return forceSnapshotIntervalMs - this.#sinceMs(isBaseLater ? this.#basedNs : this.#lastFullNs);
  }

  #sinceMs(timeNs: bigint): number {
    return Number(this.#clock.nowNs() - timeNs) / 1e6;
  }
}
