import assert from 'node:assert';
import { SyncError } from '../../../protocol/errors.ts';
import type { SnapshotMeta } from '../../../protocol/snapshot.ts';
import type { Clock } from '../../../protocol/time.ts';
import { joinVectors } from '../../../protocol/version-vector.ts';
import { streamOf } from '../../../protocol/object-name.ts';
import { placeAfter, schemaModeOf } from '../local-database.ts';
import { statsOf } from './database-stats.ts';
import { encodePending, encodeState, foundDisorder } from './encode-pending.ts';
import { InFlight } from './in-flight.ts';
import type {
  DatabaseOptions,
  DatabaseStats,
  Detection,
  EncodedObject,
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
  ReopenOptions,
  SnapshotOptions,
  SweepOptions,
  SweepSlice,
} from '../local-database.ts';
import { ComingFile } from '../coming-file.ts';
import { notReopened, openResult } from './open-result.ts';
import { discardSpool } from '../../spool.ts';
import { finishRejoin, type RejoinStart } from '../session/rejoin-end.ts';
import { KeyHashes } from '../key-hashes.ts';
import { mergeResult, nothingMerged } from '../merge/result.ts';
import { readValues } from '../read-values.ts';
import { Session } from '../session/session.ts';
import { mergeObject } from '../merge/object.ts';
import { sweepSlice } from '../session/sweep-slice.ts';

type NewDelta = Omit<EncodedObject, 'dataTxnId'>;

/**
 * One local LMDB, worked on in this very thread: every call may block it for the write lock. The agent runs it in a
 * worker thread; tests and the simulation use it as it is.
 */
export class DirectLocalDatabase implements LocalDatabase {
  #options: DatabaseOptions;
  readonly #clock: Clock;
  #session: Session | undefined;
  /** Why there is no session until the next {@link reopen}. */
  #replaced: SyncError | undefined;
  /** The full snapshot that is being encoded; it reads the LMDB as it was opened. */
  #encoding: Promise<unknown> | undefined;
  readonly #comingFile = new ComingFile();
  #turn: Promise<unknown> = Promise.resolve();
  /** Their keys come back into consideration if they are given back, or this run ends. */
  readonly #inFlight = new InFlight();
  #rejoin: RejoinStart | undefined;

  constructor(options: DatabaseOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  open(): Promise<OpenResult> {
    return this.#exclusive(async () => {
      assert(this.#session === undefined, 'a database is opened once');
      this.#session = await Session.open(this.#options, this.#clock);
      return openResult(this.#session);
    });
  }

  reopen({ run, forgetStream }: ReopenOptions): Promise<OpenResult> {
    return this.#exclusive(async () => {
      await this.#letGo();
      this.#replaced ??= notReopened(this.#options.name);
      this.#options = { ...this.#options, run };
      const session = await Session.open(this.#options, this.#clock, this.#comingFile.open);
      try {
        session.forgetStream(forgetStream);
      } catch (error) {
        await session.close();
        throw error;
      }
      this.#session = session;
      this.#replaced = undefined;
      return openResult(session);
    });
  }

  /** Closes what is open, and its "-lock" file with it: whoever opens it next finds nobody else there. */
  async #letGo(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    this.#inFlight.clear();
    this.#rejoin = undefined;
    if (session === undefined) {
      return;
    }
    if (this.#encoding !== undefined) {
      // Its next read fails; a file that is gone has nothing to say.
      session.file.close();
      await this.#encoding.catch(() => undefined);
    }
    await session.close();
  }

  detect(): Promise<Detection> {
    return this.#exclusive(async () => {
      const session = this.#require();
      await session.refresh();
      return session.takeDetection();
    });
  }

  encodeDelta(options: EncodeOptions): Promise<EncodeResult> {
    return this.#exclusive(async () => {
      const session = this.#require();
      this.#inFlight.requireNone();
      const startedMs = performance.now();
      await session.refresh();
      // A regressed entry that could not be put back must not go out as our state, nor the marker pass it.
      session.requireRepaired();
      const delta = await this.#takePending(session, { ...options, startedMs });
      const detection = session.takeDetection();
      const { dataTxnId } = detection;
      return { detection, object: delta && { ...delta, dataTxnId } };
    });
  }

  /** What is pending, as a delta of the state up to which changes are known; undefined: nothing is left to say. */
  async #takePending(
    session: Session,
    { startedMs, ...options }: EncodeOptions & { readonly startedMs: number },
  ): Promise<NewDelta | undefined> {
    if (session.changes.pending.isEmpty) {
      return undefined;
    }
    const encoded = await encodePending(session, {
      snapshotMeta: this.#snapshotMeta(session, options),
      spool: this.#spoolOptions(),
    });
    session.changes.pending.clear();
    // Whatever was pending has been replaced by merges meanwhile.
    if (encoded.entries === 0) {
      await discardSpool(encoded.spool);
      return undefined;
    }
    const { txnId } = session.basis;
    return {
      ...encoded,
      token: this.#inFlight.add(txnId, session.marker),
      kind: 'delta',
      txnId,
      vector: undefined,
      addsNothing: false,
      encodeMs: performance.now() - startedMs,
    };
  }

  async encodeSnapshot({ newsFirst = false, ...options }: SnapshotOptions): Promise<EncodeResult> {
    const startedMs = performance.now();
    // Encoding takes long; it keeps the pin that it began with, and other work goes on meanwhile.
    const begun = await this.#exclusive(async () => {
      const session = this.#require();
      this.#inFlight.requireNone();
      await session.refresh();
      session.requireRepaired();
      // It would count for objects whose entries are in a DBI that it leaves out, and those would be deleted.
      if (session.order.refused.list.length > 0) {
        return undefined;
      }
      if (!session.hasData) {
        return { detection: session.takeDetection(), encoding: undefined };
      }
      const place = { ...options, startedMs };
      const news = newsFirst ? await this.#takePending(session, place) : undefined;
      const encoding = this.#encodeState(session, place, news);
      // From its turn on, and not from the call on: whoever is asked before it to let go would wait for it for ever.
      this.#encoding = encoding;
      const forget = () => {
        this.#encoding = undefined;
      };
      encoding.then(forget, forget);
      return { encoding };
    });
    if (begun === undefined) {
      return this.encodeDelta(options);
    }
    return begun.encoding ?? { detection: begun.detection, object: undefined };
  }

  /** Everything up to the first turn of the event loop belongs to the exclusive call that begins it. */
  async #encodeState(
    session: Session,
    { startedMs, ...options }: EncodeOptions & { readonly startedMs: number },
    delta: NewDelta | undefined,
  ): Promise<EncodeResult> {
    const pinned = session.retainPin();
    const place = delta === undefined ? options : placeAfter(options);
    const own = streamOf(this.#options.instance, this.#options.run);
    const vector = joinVectors(session.covered, new Map([[own, place.seq]]));
    const { rejoinBeforeNs } = session.state;
    const addsNothing = session.changes.pending.isEmpty;
    session.changes.pending.clear();
    const { txnId } = pinned.meta;
    const token = this.#inFlight.add(txnId, session.marker);
    const detection = session.takeDetection();
    const { dataTxnId } = detection;
    const news = delta && { ...delta, dataTxnId };
    try {
      const encoded = await encodeState(session, {
        meta: pinned.meta,
        snapshotMeta: { ...this.#snapshotMeta(session, place), vector, rejoinBeforeNs },
        spool: this.#spoolOptions(),
      });
      const encodeMs = performance.now() - startedMs;
      const about = { token, txnId, dataTxnId, vector, addsNothing, encodeMs };
      return { detection, object: { ...encoded, ...about, kind: 'snapshot' }, news };
    } catch (error) {
      // What was pending is in no object after all: the next one finds it by a scan.
      this.#inFlight.clear();
      session.changes.pending.overflow();
      session.returnDetection(detection);
      if (news !== undefined) {
        await discardSpool(news.spool);
      }
      throw foundDisorder(session, error);
    } finally {
      pinned.release();
    }
  }

  acknowledge(token: number): Promise<void> {
    return this.#exclusive(async () => {
      this.#inFlight.acknowledge(token, () => this.#require().marker);
    });
  }

  giveBack(token: number): Promise<Detection> {
    return this.#exclusive(async () => {
      const session = this.#require();
      if (this.#inFlight.remove(token)) {
        // Its keys are not known any more: the next object finds them by a scan.
        session.changes.pending.overflow();
      }
      return session.takeDetection();
    });
  }

  merge(request: MergeRequest): Promise<MergeResult> {
    return this.#exclusive(async () => {
      const session = this.#require();
      await session.refresh();
      if (session.isStale(request)) {
        return nothingMerged(session.takeDetection());
      }
      session.order.requireChecked();
      if (session.vectorForgotten) {
        return nothingMerged(session.takeDetection());
      }
      const seenKeys = this.#rejoin?.seen;
      const { checked, applied } = await mergeObject(session, request, { seenKeys });
      session.changes.raiseMaxTs(checked.maxTsNs);
      session.vector.join(request.vector);
      return mergeResult(checked, applied, session.takeDetection());
    });
  }

  persist(options: PersistOptions): Promise<Detection> {
    return this.#exclusive(async () => {
      const session = this.#require();
      await session.refresh();
      if (options.resetMarker === true) {
        session.resetMarker();
        this.#inFlight.clear();
      }
      // Emptied meanwhile, it must not come back from whoever asked before. Nor must the time of a sync without a DBI.
      const isStale = session.isStale(options);
      if (!isStale) {
        session.vector.drop(options.dropped ?? []);
        session.vector.join(options.vector);
        session.kept.note(options);
      }
      session.persist({
        rejoinBeforeNs: options.rejoinBeforeNs,
        lastSyncNs: (isStale ? session.state.lastSyncNs : undefined) ?? options.lastSyncNs,
        bucketId: options.bucketId,
        entriesAtStop: options.entriesAtStop === true ? session.entries : null,
        droppedNs: options.resetMarker === true ? null : options.droppedNs,
        // What came from another bucket is in no object of this one.
        forgetMerged: options.resetMarker,
      });
      return session.takeDetection();
    });
  }

  sweep(options: SweepOptions): Promise<SweepSlice> {
    return this.#exclusive(async () => {
      const session = this.#require();
      await session.refresh();
      session.order.requireChecked();
      session.requireRepaired();
      const slice = sweepSlice(session, options);
      return { ...slice, detection: session.takeDetection() };
    });
  }

  beginRejoin(): Promise<void> {
    return this.#exclusive(async () => {
      const { marker, state } = this.#require();
      const sent = { uploadedTxn: marker.txnId, merged: state.merged };
      this.#rejoin = { seen: new KeyHashes(), sent, markerVersion: marker.version };
    });
  }

  abandonRejoin(): Promise<void> {
    return this.#exclusive(async () => {
      this.#rejoin = undefined;
    });
  }

  finishRejoin(options: FinishRejoinOptions): Promise<RejoinResult> {
    return this.#exclusive(async () => {
      const session = this.#require();
      const begun = this.#rejoin;
      assert(begun !== undefined, 'a rejoin was begun');
      const result = await finishRejoin(session, { ...options, ...begun });
      this.#rejoin = undefined;
      return { ...result, detection: session.takeDetection() };
    });
  }

  values(entries: readonly EntryKey[]): Promise<(Uint8Array | undefined)[]> {
    return this.#exclusive(async () => readValues(this.#require(), entries));
  }

  stats(): Promise<DatabaseStats> {
    return this.#exclusive(async () => {
      return statsOf(this.#require().environment);
    });
  }

  close(): Promise<void> {
    return this.#exclusive(async () => {
      await this.#session?.close();
      this.#session = undefined;
    });
  }

  #snapshotMeta(session: Session, { seq, timeNs }: EncodeOptions): SnapshotMeta {
    const { instance, hostname, name, run } = this.#options;
    return {
      generationId: `G${run}`,
      instance,
      hostname,
      lmdbTxnId: BigInt(session.basis.txnId),
      timestampNs: timeNs,
      databaseName: name,
      fromLmdbTxnId: 0n,
      run,
      seq,
      schemaMode: schemaModeOf(this.#options),
    };
  }

  #spoolOptions(): { memoryBytes: number; folder: string } {
    return { memoryBytes: this.#options.spoolMemoryBytes, folder: this.#options.spoolFolder };
  }

  #require(): Session {
    if (this.#session !== undefined) {
      return this.#session;
    }
    if (this.#replaced !== undefined) {
      throw this.#replaced;
    }
    throw new SyncError('ENVIRONMENT_UNREADABLE', `the database ${this.#options.name} is closed`);
  }

  /** One call after the other: all but the encoding of full snapshots works on the same pin and page set. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work).catch(async (error: unknown) => {
      if (error instanceof SyncError && error.code === 'ENVIRONMENT_REPLACED') {
        this.#replaced = error;
        await this.#letGo();
      }
      throw error;
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }
}
