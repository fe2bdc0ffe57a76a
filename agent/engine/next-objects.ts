import {
  placeAfter,
  type Detection,
  type EncodedObject,
  type EncodeOptions,
} from '../lmdb/local-database.ts';
import {
  mayFollowNews,
  type FullSnapshotPolicy,
  type FullSnapshotReason,
} from './publish/full-snapshot-policy.ts';
import type { EngineDeps } from './types.ts';
import type { VectorTracker } from './vector-tracker.ts';

/** An encoded object and its place in the stream. */
export type NextObject = EncodeOptions & {
  readonly encoded: EncodedObject;
  /** Its name says that it adds nothing. */
  readonly marked: boolean;
};

/**
 * Decides what is sent next, and encodes it. News go as deltas. A full snapshot then adds nothing, is marked, and whoever
 * has what came before it need not read the whole state.
 */
export class NextObjects {
  readonly #deps: EngineDeps;
  readonly #tracker: VectorTracker;
  readonly #policy: FullSnapshotPolicy;
  readonly #detection: () => Detection;
  /** The last object was a delta that went before a full snapshot which is due. */
  #newsWentFirst = false;
  /** The next full snapshot is to prove something besides its own stream. */
  wantsUnmarked = false;

  constructor(
    deps: EngineDeps,
    parts: {
      tracker: VectorTracker;
      policy: FullSnapshotPolicy;
      /** What the last look at the LMDB found. */
      detection: () => Detection;
    },
  ) {
    this.#deps = deps;
    this.#tracker = parts.tracker;
    this.#policy = parts.policy;
    this.#detection = parts.detection;
  }

  /** There are local changes that no object holds. */
  get hasPending(): boolean {
    const { pendingKeys, pendingScan } = this.#detection();
    return pendingKeys > 0 || pendingScan;
  }

  /**
   * Why a full snapshot is due, if so. A host that has only merged what others wrote has nothing to say yet: its first
   * object waits for a change, and is a delta then. Not where upstream reads the bucket: what a wiped host wrote before
   * may be in deltas alone, which upstream cannot read.
   */
  get dueReason(): FullSnapshotReason | undefined {
    const { refusedDbis, dataTxnId } = this.#detection();
    // A state without the refused DBIs would count for objects that hold entries of them: only deltas go out.
    if (refusedDbis.length > 0) {
      return undefined;
    }
    const reason = this.#policy.dueReason(dataTxnId);
    if (reason !== 'first object') {
      return reason;
    }
    const waits = !this.hasPending && !this.#deps.settings.upstreamReaders;
    return waits || this.#isSmallFirst ? undefined : reason;
  }

  /**
   * Nothing is stored, and little of what is here did not come from others. Where that is too much to be known by key, a
   * full snapshot is about as large, and everybody can read it.
   */
  get #isSmallFirst(): boolean {
    const { pendingKeys, pendingScan } = this.#detection();
    return pendingKeys > 0 && !pendingScan && this.#tracker.vector.size > 0;
  }

  /** What is next, in order; or, where there is nothing to send, the milliseconds after which to look again. */
  async encode(place: EncodeOptions): Promise<readonly NextObject[] | number> {
    const { db } = this.#deps;
    // The first object is decided on by what is pending now; what this detection makes due otherwise comes next.
    if (this.#policy.isFirst) {
      await db.detect();
    }
    const reason = this.dueReason;
    if (reason !== undefined) {
      return this.#encodeFull(reason, place);
    }
    if (this.#policy.isFirst && !this.hasPending) {
      return Number.POSITIVE_INFINITY;
    }
    const { object } = await db.encodeDelta(place);
    return object === undefined
      ? this.#policy.nextCheckMs(this.#detection().dataTxnId)
      : [{ ...place, encoded: object, marked: false }];
  }

  /** A full snapshot is stored: before the next one, news go first again. */
  noteFullStored({ marked }: { readonly marked: boolean }): void {
    this.#newsWentFirst = false;
    if (!marked) {
      this.wantsUnmarked = false;
    }
  }

  /**
   * A full snapshot is due. What is pending goes first, as a delta. Where there is something pending again after that,
   * delta and full snapshot come from one read transaction: under a long stream of changes it would never be free of news.
   */
  async #encodeFull(
    reason: FullSnapshotReason,
    place: EncodeOptions,
  ): Promise<readonly NextObject[] | number> {
    const { db, log } = this.#deps;
    const mayMark = mayFollowNews(reason) && !this.wantsUnmarked;
    if (mayMark && !this.#newsWentFirst) {
      const { object } = await db.encodeDelta(place);
      if (object !== undefined) {
        this.#newsWentFirst = true;
        return [{ ...place, encoded: object, marked: false }];
      }
    }
    const { change } = this.#tracker;
    await db.persist(change);
    this.#tracker.noteSent(change);
    const { object, news } = await db.encodeSnapshot({ ...place, newsFirst: mayMark });
    if (object === undefined) {
      // Of an LMDB without data: the first change is a hint.
      return Number.POSITIVE_INFINITY;
    }
    const marked = mayMark && object.addsNothing;
    log.debug({ reason, marked }, 'full snapshot due');
    return news === undefined
      ? [{ ...place, encoded: object, marked }]
      : [
          { ...place, encoded: news, marked: false },
          { ...placeAfter(place), encoded: object, marked },
        ];
  }
}
