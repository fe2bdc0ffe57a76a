import { SyncError } from '../../../protocol/errors.ts';
import type { Clock } from '../../../protocol/time.ts';
import type { VersionVector } from '../../../protocol/version-vector.ts';
import { Basis } from './basis.ts';
import { TooManyRegressions } from '../changes/change-classifier.ts';
import { ValueMap } from '../changes/value-map.ts';
import { Environment, type WriteOutcome, type WriteTxn } from '../environment.ts';
import { LocalChanges } from '../changes/local-changes.ts';
import type { DatabaseOptions, Detection } from '../local-database.ts';
import type { DataFile, Meta } from '../pages/data-file.ts';
import { MovingPin, type RetainedPin } from './pin.ts';
import { WrittenValues } from '../changes/own-writes.ts';
import type { FindTarget } from '../schema/merge-target.ts';
import { sessionTxn, type SessionTxn } from './txn.ts';
import { countEntries, type SyncedDbis } from '../changes/synced-dbis.ts';
import { mayHaveVanished } from '../changes/scan.ts';
import { MAX_PUT_BACK_ROUNDS, STAMP_PART } from '../limits.ts';
import { catchUp, compareAll, transactCaughtUp } from '../schema/shadow-update.ts';
import { isRenumbered, wouldChange, type SyncState, type SyncStateUpdate } from '../sync-state.ts';
import { requireNamedData } from '../unnamed-data.ts';
import { OrderWatch, type Accepted } from './order-watch.ts';
import { oldestMarker, UploadedMarker } from './uploaded-marker.ts';

/** What is known when the last write of a merge is in. */
export type MergedState = {
  readonly vector: VersionVector;
  readonly rejoinBeforeNs?: bigint | undefined;
  readonly maxTsNs: bigint;
};

/**
 * The open LMDB of one run: the pin, the page set that belongs to it, what is pending, and the rules by which the pin
 * moves.
 *
 * `basis` is the state up to which changes are known. It moves by page diffs only (or, where no diff is possible, by a
 * scan): to the newest state before anything is encoded or merged, inside every write transaction to the state that it
 * starts from, and after it, with what it wrote as the old side, to the state that is newest then. The pin follows.
 */
export class Session {
  readonly environment: Environment;
  readonly changes: LocalChanges;
  readonly options: DatabaseOptions;
  readonly order: OrderWatch;
  readonly marker = new UploadedMarker();
  readonly #clock: Clock;
  readonly #known: Basis;
  readonly #pin: MovingPin;
  #vectorForgotten = false;

  private constructor(environment: Environment, options: DatabaseOptions, clock: Clock) {
    this.environment = environment;
    this.options = options;
    this.#clock = clock;
    this.#pin = new MovingPin(environment, (to) => this.#known.advance(to));
    this.changes = new LocalChanges(options.pendingBytesMax, options.valueBytesMax);
    this.#known = new Basis({
      options,
      clock,
      file: () => this.file,
      meta: this.#pin.meta,
      changes: this.changes,
      uploadedTxn: () => this.marker.txnId,
    });
    const file = () => this.file;
    this.order = new OrderWatch(this.#known, file, (accepted) => this.#acceptAgain(accepted));
    this.changes.raiseMaxTs(this.state.maxTsNs);
    this.marker.moveBack(this.state.uploadedTxn);
  }

  /** Opens the LMDB; its first read transaction is the first pin, and is scanned for what is not uploaded. */
  static async open(options: DatabaseOptions, clock: Clock): Promise<Session> {
    const environment = Environment.open(options);
    try {
      const session = new Session(environment, options, clock);
      requireNamedData(session.file, session.basis);
      session.#scanAtStart();
      return session;
    } catch (error) {
      await environment.close();
      throw error;
    }
  }

  get file(): DataFile {
    return this.environment.file;
  }

  /** The state up to which changes are known; its pages are pinned. */
  get basis(): Meta {
    return this.#known.meta;
  }

  /** `_sync_state` as of the basis. */
  get state(): SyncState {
    return this.#known.state;
  }

  get hasData(): boolean {
    return this.entries > 0;
  }

  /** Registers of the basis, tombstones included. */
  get entries(): number {
    return countEntries(this.synced(this.basis));
  }

  /** The DBIs that hold the registers of a state. */
  synced(meta: Meta): SyncedDbis {
    return this.#known.synced(meta);
  }

  /** Where the entries of an object go. */
  get targets(): FindTarget {
    return this.#known.schema.targets;
  }

  /** The vector was emptied since the last {@link takeDetection}. */
  get vectorForgotten(): boolean {
    return this.#vectorForgotten;
  }

  futureFromNs(): bigint {
    return this.#known.futureFromNs();
  }

  detection(): Detection {
    return {
      ...this.changes.detection(),
      txnId: this.basis.txnId,
      dataTxnId: this.#known.dataTxnId,
      hasData: this.hasData,
      vectorForgotten: this.#vectorForgotten,
      ...this.order.detection,
    };
  }

  /** The detection, and what it counts begins anew. */
  takeDetection(): Detection {
    const detection = this.detection();
    this.changes.resetCounts();
    this.#vectorForgotten = false;
    return detection;
  }

  /** Moves the pin to the newest state; finds local changes; puts regressed entries back. */
  async refresh(): Promise<void> {
    for (let round = 0; round < MAX_PUT_BACK_ROUNDS; round += 1) {
      try {
        await this.#movePin();
        break;
      } catch (error) {
        if (!(error instanceof TooManyRegressions)) {
          throw error;
        }
        this.#putBackWithoutMoving();
      }
    }
    this.order.review();
    try {
      this.requireRepaired();
    } catch (error) {
      // Kept, and tried again at the next refresh; until then nothing goes out.
      if (!(error instanceof SyncError) || !error.retryable) {
        throw error;
      }
    }
  }

  /** A pin at the basis, held until it is released, however far this session's pin moves meanwhile. */
  retainPin(): RetainedPin {
    return this.#pin.retainAt(this.basis);
  }

  /** Errors: MAP_FULL or TRANSACTION_FAILED while a regressed entry could not be put back, or a register stamped. */
  requireRepaired(): void {
    if (this.changes.regressed.size > 0) {
      this.transact(() => undefined);
    }
    if (this.#known.schema.shadow !== undefined) {
      catchUp(this.#known.schema.shadow, this);
    }
  }

  stampSome(): void {
    this.#transactOnce(() => undefined, this.options.maxLockHoldMs * STAMP_PART);
  }

  /** Nothing of this LMDB is in the bucket. */
  resetMarker(): void {
    this.#moveMarkerBack(undefined);
  }

  /** Everything since then is pending, whatever is on its way. */
  #moveMarkerBack(txnId: number | undefined): void {
    this.marker.moveBack(txnId);
    if (this.hasData) {
      this.changes.pending.overflow();
    }
  }

  persist(update: {
    vector: VersionVector;
    rejoinBeforeNs: bigint | undefined;
    lastSyncNs: bigint | undefined;
    bucketId: string | undefined;
    entriesAtStop: number | null;
  }): void {
    const { vector, ...rest } = update;
    const whole = { ...rest, together: this.#together(vector, 0n) };
    if (wouldChange(this.state, whole)) {
      this.#write(whole);
    }
  }

  #write(update: SyncStateUpdate): void {
    this.transact((txn) => txn.writeState(update));
  }

  /** Vector, marker and max_ts, which are only ever written together. */
  #together(vector: VersionVector, maxTsNs: bigint): NonNullable<SyncStateUpdate['together']> {
    return {
      vector,
      uploadedTxn: this.marker.txnId ?? null,
      maxTsNs: maxTsNs > this.changes.maxTsNs ? maxTsNs : this.changes.maxTsNs,
      refused: this.order.refused.markers,
    };
  }

  /** The update that the last transaction of a merge writes. */
  mergeUpdate({ vector, rejoinBeforeNs, maxTsNs }: MergedState): SyncStateUpdate {
    return { together: this.#together(vector, maxTsNs), rejoinBeforeNs, entriesAtStop: null };
  }

  /**
   * One write transaction. Inside it, first, the diff up to the state that it starts from (which cannot move now):
   * what regressed there is put back in the same transaction. After it the pin moves past it, with what it wrote
   * as the old side of that diff, so that an application's write in between is still seen.
   */
  transact<T>(work: (txn: SessionTxn) => T): WriteOutcome<T> {
    const { shadow } = this.#known.schema;
    if (shadow === undefined) {
      return this.#transactOnce(work);
    }
    return transactCaughtUp(shadow, this, () => this.#transactOnce(work));
  }

  /** `stampMs`: stamp only for so long, and leave the rest of what is behind. */
  #transactOnce<T>(work: (txn: SessionTxn) => T, stampMs?: number): WriteOutcome<T> {
    const written = new WrittenValues();
    // Before the lock is asked for, and again inside, where it counts.
    this.order.requireWritable(this.basis);
    const outcome = this.environment.write((txn) => {
      this.#advanceInside(txn);
      this.order.requireWritable(txn.committed);
      const repaired = this.#known.schema.repair(txn, {
        file: this.file,
        written,
        nowNs: this.#clock.nowNs(),
        futureFromNs: this.futureFromNs(),
        stampMs,
      });
      const { local, alsoPut } = repaired;
      const onlyMerged = local.size === 0;
      const own = { written, onlyMerged, quietSince: this.#known.own.quietSince(txn, onlyMerged) };
      const result = work(sessionTxn(txn, { ...own, state: this.state, local, alsoPut }));
      // What the work wrote as local counts, too.
      return { result, own: { ...own, onlyMerged: local.size === 0 }, repaired };
    });
    // From here on it is committed.
    const { result, own, repaired } = outcome.result;
    repaired.committed();
    const { txnId } = outcome;
    if (txnId !== undefined) {
      this.#known.own.add({ ...own, txnId });
    }
    this.changes.regressed = new ValueMap();
    this.#repin();
    return { ...outcome, result };
  }

  async close(): Promise<void> {
    this.#pin.release();
    await this.environment.close();
  }

  async #movePin(): Promise<void> {
    const since = this.basis.txnId;
    const reopenedAt = await this.#pin.move();
    if (reopenedAt !== undefined) {
      this.#scanAfterReopen(reopenedAt, since);
    }
  }

  /** As {@link #movePin}, right after a transaction of ours; a grown map is dealt with at the next refresh. */
  #repin(): void {
    try {
      this.#pin.moveWithoutReopen();
    } catch (error) {
      // The transaction is committed; the pin stays behind it, and the next refresh repeats this.
      if (!(error instanceof TooManyRegressions) && !(error instanceof SyncError)) {
        throw error;
      }
    }
  }

  #advanceInside(txn: WriteTxn): void {
    try {
      this.order.advanceInside(() => this.#known.advance(txn.committed));
    } catch (error) {
      // The next refresh puts them back in rounds.
      throw error instanceof TooManyRegressions ? error.asSyncError() : error;
    }
  }

  /**
   * Objects were merged without entries for these DBIs, and their changes were not sent: the whole bucket is merged
   * again, and whatever is not known to be sent is sent.
   */
  #acceptAgain(accepted: Accepted): void {
    this.#moveMarkerBack(oldestMarker([this.marker.txnId, ...accepted.values()]));
    this.#known.schema.shadow?.behind.overflow();
    this.#forgetVector();
  }

  /** Too many to hold: these are put back first; the pin and the page set stay, and the same diff goes on after it. */
  #putBackWithoutMoving(): void {
    this.environment.write((txn) => {
      this.order.requireWritable(txn.committed);
      this.#known.schema.putBack(txn, this.file, new WrittenValues());
    });
    this.changes.regressed = new ValueMap();
  }

  #scanAtStart(): void {
    // In a compacted copy transactions count from 1 again: marker and ids of merges belong to another count, and with
    // them changes of the next transactions would pass for sent ones.
    const renumbered = isRenumbered(this.state, this.basis.txnId);
    if (renumbered) {
      this.marker.moveBack(undefined);
    }
    const { entriesAtStop, vector, refused } = this.state;
    if (
      this.marker.txnId === undefined &&
      vector.size === 0 &&
      refused.size === 0 &&
      this.#known.schema.shadow === undefined
    ) {
      // Nothing was ever sent or merged: all of it is to be sent, and there is nothing to be compared with.
      this.#known.skipScan();
      this.order.noteUnchecked();
      if (this.hasData) {
        this.changes.pending.overflow();
      }
      if (!renumbered) {
        return;
      }
    }
    // Each of them is read by the scan, and taken in again after it if it is in order now.
    for (const [name, uploadedTxn] of refused) {
      this.order.refused.suspect(name, renumbered ? undefined : uploadedTxn);
    }
    const { low, changes } = this.#known.scanSince(this.marker.txnId ?? 0, {
      ignoresMerged: renumbered,
    });
    const { entries } = this;
    const vanished = mayHaveVanished(entriesAtStop ?? entries, { entries, changes });
    if (renumbered) {
      this.#write({ together: this.#together(this.state.vector, 0n), forgetMerged: true });
    }
    if ((low || vanished) && vector.size > 0) {
      this.#forgetVector();
    }
    this.order.review();
    const { shadow } = this.#known.schema;
    if (shadow !== undefined) {
      compareAll(shadow, this, shadow.behindAtStart);
    }
  }

  /** The vector says more than the entries hold: everything in the bucket is to be merged again. */
  #forgetVector(): void {
    this.#vectorForgotten = true;
    this.#write({ together: this.#together(new Map(), 0n) });
  }

  /** The application enlarged the map. The pin could not be kept, so changes since then are found by a scan. */
  #scanAfterReopen(meta: Meta, since: number): void {
    const { vector } = this.state;
    if (!this.#known.jumpTo(meta)) {
      return;
    }
    if (this.#known.scanSince(since).low && vector.size > 0) {
      this.#forgetVector();
    }
  }
}
