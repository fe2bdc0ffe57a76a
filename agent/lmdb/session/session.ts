import { SyncError } from '../../../protocol/errors.ts';
import type { Clock } from '../../../protocol/time.ts';
import type { StreamId } from '../../../protocol/object-name.ts';
import { EMPTY_VECTOR, type VersionVector } from '../../../protocol/version-vector.ts';
import { Basis } from './basis.ts';
import { TooManyRegressions } from '../changes/change-classifier.ts';
import { Environment, type WriteOutcome, type WriteTxn } from '../environment.ts';
import { LocalChanges } from '../changes/local-changes.ts';
import { schemaModeOf, type DatabaseOptions, type Detection } from '../local-database.ts';
import { hasPageOrder } from '../page-order.ts';
import { listDbis, type DataFile, type Meta } from '../pages/data-file.ts';
import { needsReopen } from '../txn-errors.ts';
import { Follower } from './follower.ts';
import { KeptPlaces } from './kept-places.ts';
import { MovingPin, type RetainedPin } from './pin.ts';
import type { FindTarget } from '../schema/merge-target.ts';
import { SchemaHold } from './schema-hold.ts';
import { Transactions } from './transactions.ts';
import type { MergedState, SessionTxn } from './txn.ts';
import { countEntries, type SyncedDbis } from '../changes/synced-dbis.ts';
import { scanAtStart } from './start-scan.ts';
import { MAX_PUT_BACK_ROUNDS } from '../limits.ts';
import { requireFittingSchema } from '../schema/mode-check.ts';
import { localSchemaVersion } from '../schema/powerdns-schema.ts';
import { catchUp } from '../schema/shadow-update.ts';
import { SavedVector } from '../saved-vector.ts';
import { SYNC_STATE_DBI } from '../state-value.ts';
import { wouldChange, type SyncState, type SyncStateUpdate } from '../sync-state.ts';
import { requireNamedData } from '../unnamed-data.ts';
import { OrderWatch, type Accepted } from './order-watch.ts';
import { oldestExchange, UploadedMarker } from './uploaded-marker.ts';

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
  readonly schemaHold: SchemaHold;
  readonly options: DatabaseOptions;
  readonly #known: Basis;
  readonly #pin: MovingPin;
  readonly #follower: Follower;
  readonly #transactions: Transactions;
  readonly order: OrderWatch;
  readonly marker = new UploadedMarker();
  /** Its keys are written by this session alone: what it holds in memory is ahead of them, or the same. */
  readonly vector: SavedVector;
  readonly kept: KeptPlaces;
  #vectorForgotten = false;
  #rescan: string | undefined;
  /** Ours stand in their order in this file, and will: nobody else touches them. */
  #hasPageOrder: boolean;
  #emptied = 0;

  private constructor(environment: Environment, options: DatabaseOptions, clock: Clock) {
    this.environment = environment;
    this.options = options;
    const putBack = () => this.#transactions.putBackWithoutMoving();
    this.#pin = new MovingPin(environment, (to) => this.#known.advance(to, putBack));
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
    this.#transactions = new Transactions({
      session: this,
      known: this.#known,
      clock,
      repin: () => {
        this.#repin();
        this.#hasPageOrder ||= hasPageOrder(this.file, this.basis);
      },
    });
    this.changes.raiseMaxTs(this.state.maxTsNs);
    this.marker.moveBack(this.state.uploadedTxn);
    this.schemaHold = new SchemaHold({
      held: this.state.heldSchema,
      allowed: options.allowSchemaUpgrade === true,
      local: () => localSchemaVersion(this.file, this.synced(this.basis)),
    });
    this.#hasPageOrder = hasPageOrder(this.file, this.basis);
    this.#follower = new Follower({
      path: environment.dataPath,
      pin: this.#pin,
      basis: this.#known,
      hasVector: () => this.vector.positions.size > 0,
      hadPageOrder: () => this.#hasPageOrder,
      onMarkerDoubted: () => this.marker.moveBack(this.state.uploadedTxn),
      onLow: () => this.#forgetVector(),
      onRescan: (reason) => {
        this.#rescan = reason;
      },
    });
    this.kept = new KeptPlaces(this.state, options.instance);
    this.vector = SavedVector.read(this.file, listDbis(this.file, this.basis).get(SYNC_STATE_DBI));
  }

  /**
   * Opens the LMDB; its first read transaction is the first pin, and is scanned for what is not uploaded. Errors besides
   * those of opening: TRANSACTION_FAILED where the "-lock" file is another LMDB's.
   */
  static async open(
    options: DatabaseOptions,
    clock: Clock,
    openEnvironment = (given: DatabaseOptions) => Environment.open(given),
  ): Promise<Session> {
    const environment = openEnvironment(options);
    try {
      environment.requireLockTable();
      const session = new Session(environment, options, clock);
      // Before anything is written.
      requireNamedData(session.file, session.basis);
      requireFittingSchema({ file: session.file, meta: session.basis }, options, clock.nowNs());
      scanAtStart({
        session,
        basis: session.#known,
        hasPageOrder: session.#hasPageOrder,
        doubtMarker: () => session.marker.moveBack(undefined),
        forgetMerged: (rising) =>
          session.#write({ together: session.#together(0n), forgetMerged: true }, rising),
        forgetVector: () => session.#forgetVector(),
      });
      session.schemaHold.release(() => session.#forgetVector());
      return session;
    } catch (error) {
      await environment.close();
      throw error;
    }
  }

  get file(): DataFile {
    return this.environment.file;
  }

  /** See {@link hasPageOrder}. */
  get lacksPageOrder(): boolean {
    return !this.#hasPageOrder;
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

  /** See {@link Basis.synced}. */
  synced(meta: Meta): SyncedDbis {
    return this.#known.synced(meta);
  }

  /** Where the entries of an object go. */
  get targets(): FindTarget {
    return this.#known.schema.targets;
  }

  /** What a full snapshot covers of others. What is held back is in no state of this host. */
  get covered(): VersionVector {
    return this.schemaHold.held === undefined ? this.vector.positions : EMPTY_VECTOR;
  }

  /** The vector was emptied since the last {@link takeDetection}. */
  get vectorForgotten(): boolean {
    return this.#vectorForgotten;
  }

  /** True if whoever asks does not know yet that the vector was emptied. */
  isStale({ emptied = this.#emptied }: { readonly emptied?: number | undefined }): boolean {
    return this.#vectorForgotten || emptied !== this.#emptied;
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
      heldSchema: this.schemaHold.status(),
      rescan: this.#rescan,
      ...this.order.detection,
    };
  }

  /** The detection, and what it counts begins anew. */
  takeDetection(): Detection {
    const detection = this.detection();
    this.changes.resetCounts();
    if (this.#vectorForgotten) {
      this.#emptied += 1;
    }
    this.#vectorForgotten = false;
    this.#rescan = undefined;
    this.order.leftOutSinceNs = undefined;
    return detection;
  }

  /** A detection that was taken does not reach the caller after all. */
  returnDetection({ vectorForgotten, leftOutSinceNs }: Detection): void {
    if (vectorForgotten) {
      this.#emptied -= 1;
      this.#vectorForgotten = true;
      this.order.leftOutSinceNs ??= leftOutSinceNs;
    }
  }

  /**
   * Moves the pin to the newest state; finds local changes; puts regressed entries back. Errors: ENVIRONMENT_REPLACED,
   * and CONFIG_INVALID, while which nothing is pinned: only the operator can end it.
   */
  async refresh(): Promise<void> {
    try {
      await this.#refresh();
    } catch (error) {
      if (error instanceof SyncError && error.code === 'CONFIG_INVALID') {
        this.#follower.letGo();
      }
      throw error;
    }
  }

  async #refresh(): Promise<void> {
    for (let round = 0; round < MAX_PUT_BACK_ROUNDS; round += 1) {
      try {
        await this.#follower.move();
        break;
      } catch (error) {
        if (!(error instanceof TooManyRegressions)) {
          throw error;
        }
        this.#transactions.putBackWithoutMoving();
      }
    }
    this.order.review();
    try {
      this.requireRepaired();
      this.schemaHold.release(() => this.#forgetVector());
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
    this.#transactions.stampSome();
  }

  /** Nothing of this LMDB is in the bucket. */
  resetMarker(): void {
    this.#moveMarkerBack();
    this.schemaHold.forget();
    this.vector.empty();
    this.kept.reset();
  }

  /** Everything since then is pending. */
  #moveMarkerBack(txnId?: number): void {
    this.marker.moveBack(txnId);
    if (this.hasData) {
      this.changes.pending.overflow();
    }
  }

  /** Writes what differs, and all of the vector that is not written yet: in several transactions where that is much. */
  persist(update: Omit<SyncStateUpdate, 'together' | 'addMerged'>): void {
    const whole = { ...update, together: this.#together(0n) };
    if (wouldChange(this.state, whole)) {
      this.#write(whole);
    }
    while (!this.vector.isSaved) {
      this.#write(whole);
    }
  }

  forgetStream(stream: StreamId | undefined): void {
    if (stream !== undefined && this.vector.positions.has(stream)) {
      this.vector.drop([stream]);
      this.#write({ together: this.#together(0n) });
    }
  }

  #write(update: SyncStateUpdate, rising?: VersionVector): void {
    this.transact((txn) => txn.writeState(update, rising));
  }

  /** Marker and max_ts, which are only ever written together, and the vector never without them. */
  #together(maxTsNs: bigint): NonNullable<SyncStateUpdate['together']> {
    return {
      uploadedTxn: this.marker.txnId ?? null,
      maxTsNs: maxTsNs > this.changes.maxTsNs ? maxTsNs : this.changes.maxTsNs,
      heldSchema: this.schemaHold.held,
      schemaMode: schemaModeOf(this.options),
      refused: this.order.refused.exchanged,
      ...this.kept.update,
    };
  }

  /** The update that the last transaction of a merge writes. */
  mergeUpdate({ rejoinBeforeNs, maxTsNs }: MergedState): SyncStateUpdate {
    return { together: this.#together(maxTsNs), rejoinBeforeNs, entriesAtStop: null };
  }

  /** One write transaction; see {@link Transactions.transact}. */
  transact<T>(work: (txn: SessionTxn) => T): WriteOutcome<T> {
    return this.#transactions.transact(work);
  }

  /** A write transaction of the environment, without the diff; where none can begin any more, it is opened anew. */
  writeInto<T>(work: (txn: WriteTxn) => T): WriteOutcome<T> {
    try {
      return this.environment.write(work);
    } catch (error) {
      if (needsReopen(error)) {
        this.#pin.requireReopen();
      }
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#pin.release();
    await this.environment.close();
  }

  /** Moves the pin right after a transaction of ours; a grown map is dealt with at the next refresh. */
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

  /** These DBIs were away: the whole bucket is merged again, and whatever is not known to be sent is sent. */
  #acceptAgain(accepted: Accepted): void {
    const now = { uploadedTxn: this.marker.txnId, syncedNs: this.state.lastSyncNs };
    const { uploadedTxn, syncedNs } = oldestExchange([now, ...accepted.values()]);
    this.#moveMarkerBack(uploadedTxn);
    this.#known.schema.shadow?.behind.overflow();
    this.order.leftOutSinceNs = syncedNs;
    this.#forgetVector(syncedNs);
  }

  /** The vector says more than the entries hold: the whole bucket is to be merged again. */
  #forgetVector(lastSyncNs?: bigint): void {
    this.#vectorForgotten = true;
    this.kept.keep(this.vector.positions);
    this.vector.empty();
    this.#write({ together: this.#together(0n), droppedNs: null, lastSyncNs });
  }
}
