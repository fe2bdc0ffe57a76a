import type { SyncError } from '../../protocol/errors.ts';
import { basePositionOf, isBasePosition } from '../../protocol/manifest.ts';
import { joinVectors } from '../../protocol/version-vector.ts';
import { retryDelay } from '../pacing/backoff.ts';
import { Wakeup } from '../pacing/wakeup.ts';
import { checkBucket } from './bucket-check.ts';
import type { Step } from './observer.ts';
import type { ObjectMerger } from './object-merger.ts';
import { finishedStreams, type PassResult } from './pass-result.ts';
import type { PublishLoop } from './publish-loop.ts';
import type { Publisher } from './publisher.ts';
import type { Receiver } from './receiver.ts';
import type { SeenBase, StoredProof } from './proof/stored-proof.ts';
import type { Rejoin } from './rejoin.ts';
import type { EngineDeps } from './types.ts';
import type { VectorTracker } from './vector-tracker.ts';

/** More names than this waiting to be fetched one by one are better found by one listing. */
const MAX_QUEUED_NAMES = 1000;
/** While an object has no room in the map, how often the map is looked at. */
const ROOM_CHECK_MS = 5000;
/** With only-once, how often it is looked whether everything is stored. */
const STORED_CHECK_MS = 200;

/** What receiving tells the loop that sends, and asks of it. */
type Sending = Pick<PublishLoop, 'allowUploads' | 'wake' | 'waitStored'>;

export type ReceiveLoopParts = {
  readonly publisher: Publisher;
  readonly receiver: Receiver;
  readonly merger: Pick<ObjectMerger, 'hasRoomAgain' | 'isShortOfRoom' | 'requireRoom'>;
  readonly tracker: VectorTracker;
  readonly rejoin: Rejoin;
  readonly proof: StoredProof;
  readonly sending: Sending;
  /** The bucket that the LMDB was synced with before; undefined: with none. */
  readonly bucketId: string | undefined;
};

/** Brings in what others stored: by the names that it is told of, and by listing passes. */
export class ReceiveLoop {
  readonly #deps: EngineDeps;
  readonly #parts: ReceiveLoopParts;
  readonly #noticed = new Wakeup();
  #names: string[] = [];
  #passRequested = true;
  #bucketKnown = false;
  #passTried = false;
  #passedOnce = false;
  #lastPass: PassResult | undefined;
  #isWhole = false;
  #lastSeen: SeenBase | undefined;
  /** Why this host has nothing of what is published, and cannot have it. */
  #unreadable: SyncError | undefined;
  #lastSyncNs: bigint | undefined;

  constructor(deps: EngineDeps, parts: ReceiveLoopParts) {
    this.#deps = deps;
    this.#parts = parts;
  }

  /** The last complete pass of this run. */
  get lastPass(): PassResult | undefined {
    return this.#lastPass;
  }

  /** Everything that is listed and published was read in the last pass, or before. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** When the last pass began that counts as a sync: complete, and no rejoin due. */
  get lastSyncNs(): bigint | undefined {
    return this.#lastSyncNs;
  }

  /** These objects exist, says somebody; best effort, repetition and disorder are fine. */
  noteNames(names: readonly string[]): void {
    if (this.#names.length + names.length > MAX_QUEUED_NAMES) {
      this.#names = [];
      this.#passRequested = true;
    } else {
      this.#names.push(...names);
    }
    this.#noticed.notify();
  }

  /** No pass since then counts as a sync: a part of the LMDB was left out. */
  noteLeftOutSince(sinceNs: bigint): void {
    this.#parts.rejoin.noteLeftOutSince(sinceNs);
    if (this.#lastSyncNs !== undefined && sinceNs < this.#lastSyncNs) {
      this.#lastSyncNs = sinceNs;
    }
  }

  /** A listing pass is wanted. */
  noteListing(): void {
    this.#passRequested = true;
    this.#noticed.notify();
  }

  /** Resolves when `signal` aborts or, with only-once, when everything listed is merged and everything local stored. */
  async run(signal: AbortSignal): Promise<void> {
    const loop = this.#deps.watchdog.loop('receive');
    let failures = 0;
    while (!signal.aborted) {
      try {
        await loop.during('a round', () => this.#checkedRound(signal));
        failures = 0;
      } catch {
        if (signal.aborted) {
          return;
        }
        failures += 1;
        this.#passRequested = true;
      }
      if (this.#deps.settings.onlyOnce && this.#unreadable !== undefined) {
        throw this.#unreadable;
      }
      if (this.#isFinished) {
        this.#parts.merger.requireRoom();
        return;
      }
      await this.#pause(signal, failures);
    }
  }

  /** Rejects when it is to be repeated; the observer knows why. */
  async #checkedRound(signal: AbortSignal): Promise<void> {
    await this.#tried('bucket id', () => this.#checkBucket(signal), signal);
    await this.#tried('pass', () => this.#round(signal), signal);
  }

  async #tried(step: Step, work: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
    const { observer } = this.#deps;
    try {
      if (await work()) {
        observer.stepWorked(step);
      }
    } catch (error) {
      if (!signal.aborted) {
        observer.stepFailed(step, error);
      }
      throw error;
    }
  }

  get #isFinished(): boolean {
    const { onlyOnce, receiveOnly } = this.#deps.settings;
    return onlyOnce && this.#passedOnce && (receiveOnly || this.#parts.publisher.idle);
  }

  async #pause(signal: AbortSignal, failures: number): Promise<void> {
    const { settings, sleep, watchdog } = this.#deps;
    // While something failed, its retry must not wait for a notice, nor run hot on notices.
    const pauseMs = failures > 0 ? retryDelay(settings.retryIntervalMs, failures) : 0;
    const longestMs = this.#parts.merger.isShortOfRoom ? ROOM_CHECK_MS : Number.POSITIVE_INFINITY;
    watchdog.loop('receive').rests(pauseMs > 0 ? pauseMs : longestMs);
    if (pauseMs > 0) {
      await sleep(pauseMs, signal).catch(noop);
    } else if (settings.onlyOnce && this.#passedOnce) {
      await this.#parts.sending.waitStored(signal, STORED_CHECK_MS);
    } else if (!this.#passRequested) {
      await this.#noticed.wait(signal, longestMs, sleep);
    }
  }

  /** Once per run, before anything of the bucket is merged. False: it was done before. */
  async #checkBucket(signal: AbortSignal): Promise<boolean> {
    if (this.#bucketKnown) {
      return false;
    }
    const { bucketId: known, sending } = this.#parts;
    if (await checkBucket(this.#deps, { ...this.#parts, known, signal })) {
      sending.wake();
    }
    this.#bucketKnown = true;
    return true;
  }

  /** Merges what is named and, where that is wanted, all that is listed. False: there was no pass. */
  async #round(signal: AbortSignal): Promise<boolean> {
    const { receiver, merger, rejoin, sending } = this.#parts;
    if (await merger.hasRoomAgain()) {
      this.#passRequested = true;
    }
    const names = this.#names;
    this.#names = [];
    // Notices before the first pass say nothing that the pass does not find.
    if (names.length > 0 && this.#passTried) {
      if (await receiver.receiveNames(names, signal)) {
        this.#passRequested = true;
      }
    }
    // What was merged says that others have dropped tombstones that this host never saw.
    if (rejoin.isPressing) {
      this.#passRequested = true;
    }
    if (!this.#passRequested) {
      return false;
    }
    this.#passRequested = false;
    await rejoin.step(signal);
    const atStart = !this.#passedOnce;
    const mayUploadEarly = atStart && rejoin.isInStep;
    this.#passTried = true;
    const result = await receiver.pass({
      signal,
      ...(mayUploadEarly ? { onOwnMerged: () => sending.allowUploads() } : {}),
    });
    await this.#afterPass(result, { atStart, signal });
    if (rejoin.isPressing) {
      this.#passRequested = true;
    }
    if (result.retry) {
      throw new Error('some objects could not be merged in this pass');
    }
    return true;
  }

  async #afterPass(
    result: PassResult,
    { atStart, signal }: { atStart: boolean; signal: AbortSignal },
  ): Promise<void> {
    const { publisher, tracker, rejoin, proof, sending } = this.#parts;
    this.#isWhole = result.complete;
    this.#lastSeen = result.base;
    if (proof.isPressing) {
      publisher.policy.requireAgain(() => this.#noteAllStored());
    }
    await publisher.reviewListing(result, { atStart, signal });
    if (result.retry) {
      return;
    }
    this.#deps.observer.passed({ complete: result.complete });
    if (result.complete) {
      this.#prune(result);
      this.#lastPass = result;
      if (rejoin.noteSync(result.startedNs)) {
        this.#lastSyncNs = result.startedNs;
      }
    }
    // Without anything of what is published this host has not begun.
    const lacksBase = ![...tracker.known.keys()].some(isBasePosition);
    this.#unreadable = lacksBase ? result.unreadable : undefined;
    if (!this.#passedOnce && this.#unreadable === undefined) {
      this.#passedOnce = true;
      this.#deps.observer.started();
    }
    sending.allowUploads();
    // A full snapshot may have become due.
    sending.wake();
  }

  #prune(result: PassResult): void {
    const { publisher, tracker } = this.#parts;
    let { proven } = result;
    for (const vector of publisher.fullSnapshots.values()) {
      proven = joinVectors(proven, vector);
    }
    const { instance } = this.#deps.settings;
    const over = finishedStreams(result, { instance, proven });
    tracker.prune(over.filter((stream) => stream !== publisher.ownStream));
  }

  /** A full snapshot holds all that this LMDB holds, whatever else is lost. */
  #noteAllStored(): void {
    const { tracker, proof } = this.#parts;
    const base = this.#lastSeen;
    proof.noteStored();
    tracker.forgetWas(base?.kind === 'stored' ? basePositionOf(base.manifest).stream : undefined);
  }
}

function noop(): void {}
