import type { Detection } from '../lmdb/local-database.ts';
import { retryDelay } from '../pacing/backoff.ts';
import { slept } from '../pacing/sleep.ts';
import { Wakeup } from '../pacing/wakeup.ts';
import type { ObjectMerger } from './object-merger.ts';
import type { Publisher } from './publisher.ts';
import type { Rejoin } from './rejoin.ts';
import type { EngineDeps } from './types.ts';

type PauseOptions = {
  /** Until the next look without a hint, after one that worked. */
  readonly nextMs: number;
  /** In a row. */
  readonly failures: number;
};

/** Sends what changes locally: waits for a hint or for its time, looks at the LMDB, and begins to send. */
export class PublishLoop {
  readonly #deps: EngineDeps;
  readonly #publisher: Publisher;
  readonly #merger: ObjectMerger;
  readonly #rejoin: Rejoin;
  readonly #hard: AbortSignal;
  readonly #changed = new Wakeup();
  readonly #sent = new Wakeup();
  #mayUpload = false;
  /** The transaction up to which changes were detected, and one that was told of during a merge. */
  #seenTxnId = -1;
  #toldTxnId = -1;

  constructor(
    deps: EngineDeps,
    parts: {
      publisher: Publisher;
      merger: ObjectMerger;
      rejoin: Rejoin;
      /** Aborts when even the shutdown's time is over: what is on its way is given up. */
      hard: AbortSignal;
    },
  ) {
    this.#deps = deps;
    this.#publisher = parts.publisher;
    this.#merger = parts.merger;
    this.#rejoin = parts.rejoin;
    this.#hard = parts.hard;
  }

  /** The LMDB's last transaction is this one, says whoever watches the file. */
  noteChange(txnId: number): void {
    // Our own merges and state writes are known before anybody else can tell of them.
    if (txnId <= this.#seenTxnId) {
      return;
    }
    if (this.#merger.isMerging) {
      this.#toldTxnId = txnId;
    } else {
      this.#changed.notify();
    }
  }

  /** To be called with every detection, before the call that took it resolves. */
  noteDetection(detection: Detection): void {
    this.#seenTxnId = detection.txnId;
    this.#publisher.noteDetection(detection);
  }

  /** No merge is under way any more: what was told of meanwhile may be the application's. */
  noteMergesEnded(): void {
    if (this.#toldTxnId > this.#seenTxnId) {
      this.#changed.notify();
    }
  }

  /** There may be something to send that no change of the LMDB tells of. */
  wake(): void {
    this.#changed.notify();
  }

  /** Somebody else has looked at the LMDB: what that found is to be sent. */
  wakeIfDue(): void {
    if (!this.#publisher.idle) {
      this.#changed.notify();
    }
  }

  /** Until this is called changes are only detected. Idempotent. */
  allowUploads(): void {
    if (this.#mayUpload) {
      return;
    }
    this.#mayUpload = true;
    this.#changed.notify();
  }

  /** Resolves when an object has been stored, or after `timeoutMs`, or when `signal` aborts. */
  async waitStored(signal: AbortSignal, timeoutMs: number): Promise<void> {
    await this.#sent.wait(signal, timeoutMs, this.#deps.sleep);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { observer, watchdog } = this.#deps;
    const loop = watchdog.loop('publish');
    let nextMs = 0;
    let failures = 0;
    while (!signal.aborted) {
      await this.#pause(signal, { nextMs, failures });
      if (signal.aborted) {
        return;
      }
      try {
        nextMs = await loop.during('a look at local changes', () => this.#step());
        observer.stepWorked('local changes');
        failures = 0;
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        observer.stepFailed('local changes', error);
        failures += 1;
      }
    }
  }

  async #pause(signal: AbortSignal, { nextMs, failures }: PauseOptions): Promise<void> {
    const { settings, sleep, watchdog } = this.#deps;
    const loop = watchdog.loop('publish');
    if (failures > 0) {
      // No change of the LMDB makes it come sooner: while something is wrong there may be a hundred in a second.
      const pauseMs = retryDelay(settings.retryIntervalMs, failures);
      loop.rests(pauseMs);
      await slept(sleep, pauseMs, signal);
    } else if (nextMs > 0) {
      loop.rests(nextMs);
      await this.#changed.wait(signal, nextMs, sleep);
    }
  }

  /** After the loop has ended: sends what is left, where this host may send, until the hard limit. */
  async flush(): Promise<void> {
    const { settings, sleep } = this.#deps;
    if (!this.#mayUpload || this.#rejoin.isPressing || settings.receiveOnly) {
      return;
    }
    this.#publisher.policy.end();
    while (!this.#hard.aborted) {
      await this.#publisher.settled();
      const waitMs = await this.#step();
      if (this.#publisher.idle) {
        return;
      }
      // Either an object is on its way, or the token bucket is empty.
      if (Number.isFinite(waitMs)) {
        await sleep(waitMs, this.#hard);
      }
    }
  }

  async #step(): Promise<number> {
    const publisher = this.#publisher;
    return publisher.step({
      maySend: () => this.#mayUpload && !this.#rejoin.isPressing,
      signal: this.#hard,
      onSent: () => {
        // What was detected while it was on its way goes next.
        if (!publisher.idle || publisher.isResting) {
          this.#changed.notify();
        }
        this.#sent.notify();
      },
    });
  }
}
