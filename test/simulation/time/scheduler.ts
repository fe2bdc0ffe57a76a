import { setImmediate as nextTurn } from 'node:timers/promises';
import { makeThreadPoolDeterministic } from './deterministic.ts';
import type { SeededRandom } from '../../support/random.ts';
import { WorldClock } from './world-clock.ts';

/** Whoever waits: once it is gone, nothing that it waits for ever happens. */
export type Owner = { readonly isGone: boolean };

type Event = { readonly atNs: bigint; readonly order: number; run(): void | Promise<void> };

const NS_PER_MS = 1_000_000n;
/** Turns of the event loop without anything under way after which all wait for the scheduler. */
const CALM_TURNS = 2;

/**
 * Virtual time, and the one source of order in a simulated world. Whatever takes time in a real one waits here; one event
 * happens after the other, each only when all that followed from the last one has come to rest. So a seed decides
 * everything, and the same seed does the same again.
 */
export class Scheduler {
  readonly clock = new WorldClock();
  readonly #random: SeededRandom;
  readonly #events: Event[] = [];
  /** What runs at this moment and is not done within a turn by itself: calls to an LMDB, bodies that are read. */
  #working = 0;
  /** Events that have happened. */
  count = 0;

  constructor(random: SeededRandom) {
    this.#random = random;
    makeThreadPoolDeterministic();
  }

  get nowMs(): number {
    return Number(this.clock.peekNs() - this.clock.beginNs) / 1e6;
  }

  /** Lets `run` happen after `ms`; those of one moment happen in any order. */
  after(ms: number, run: () => void | Promise<void>): Event {
    const atNs = this.clock.peekNs() + BigInt(Math.max(0, Math.round(ms * 1e6)));
    const event = { atNs, order: this.#random.next(), run };
    push(this.#events, event);
    return event;
  }

  /** Resolves after `ms`; never, once `owner` is gone. Rejects with the signal's reason when it aborts first. */
  sleep(ms: number, owner: Owner, signal?: AbortSignal): Promise<void> {
    return this.sleepUntil(ms, { owner, signal });
  }

  /** As {@link sleep}, or until what `woken` is given is called. */
  sleepUntil(
    ms: number,
    options: {
      owner: Owner;
      signal?: AbortSignal | undefined;
      woken?: ((wake: () => void) => void) | undefined;
    },
  ): Promise<void> {
    const { owner, signal, woken } = options;
    if (owner.isGone) {
      return never();
    }
    if (signal?.aborted === true) {
      return Promise.reject(signal.reason as Error);
    }
    return new Promise((resolve, reject) => {
      let done = false;
      const abort = () => {
        done = true;
        if (!owner.isGone) {
          reject(signal?.reason as Error);
        }
      };
      const wake = () => {
        signal?.removeEventListener('abort', abort);
        if (!done && !owner.isGone) {
          resolve();
        }
        done = true;
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.after(Math.min(ms, MAX_SLEEP_MS), wake);
      woken?.(wake);
    });
  }

  /** Runs work that the scheduler must wait for. */
  async working<T>(work: () => Promise<T>): Promise<T> {
    this.#working += 1;
    try {
      return await work();
    } finally {
      this.#working -= 1;
    }
  }

  /** The next event happens, and all that follows from it. False: there is none within the limit. */
  async step(untilNs: bigint): Promise<boolean> {
    const next = this.#events[0];
    if (next === undefined || next.atNs > untilNs) {
      return false;
    }
    pop(this.#events);
    this.clock.advanceTo(next.atNs);
    this.count += 1;
    await next.run();
    await this.settle();
    return true;
  }

  /** Runs everything that happens in the next `ms`. */
  async run(ms: number, each?: () => void | Promise<void>): Promise<void> {
    const untilNs = this.clock.peekNs() + BigInt(Math.round(ms * 1e6));
    while (await this.step(untilNs)) {
      await each?.();
    }
    this.clock.advanceTo(untilNs);
  }

  /** Runs until `isSo`, for `ms` at most; tells whether it came to that. */
  async until(isSo: () => boolean | Promise<boolean>, ms: number): Promise<boolean> {
    const untilNs = this.clock.peekNs() + BigInt(Math.round(ms)) * NS_PER_MS;
    while (!(await isSo())) {
      if (!(await this.step(untilNs))) {
        return isSo();
      }
    }
    return true;
  }

  /** Resolves when everybody waits for the scheduler. */
  async settle(): Promise<void> {
    for (let calm = 0; calm < CALM_TURNS;) {
      await nextTurn();
      calm = this.#working > 0 || isFileWorkUnderWay() ? 0 : calm + 1;
    }
  }
}

/** Timers beyond this never matter in a schedule. */
const MAX_SLEEP_MS = 400 * 24 * 3_600_000;

/** A promise of somebody who is gone. */
export function never<T>(): Promise<T> {
  return new Promise<T>(() => undefined);
}

function isFileWorkUnderWay(): boolean {
  for (const resource of process.getActiveResourcesInfo()) {
    if (resource === 'Immediate' || resource.startsWith('FSReq')) {
      return true;
    }
    if (resource.startsWith('FileHandle')) {
      return true;
    }
  }
  return false;
}

function isBefore(a: Event, b: Event): boolean {
  return a.atNs < b.atNs || (a.atNs === b.atNs && a.order < b.order);
}

/** Adds to a binary heap. */
function push(heap: Event[], event: Event): void {
  let at = heap.length;
  heap.push(event);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || !isBefore(event, above)) {
      break;
    }
    heap[at] = above;
    at = parent;
  }
  heap[at] = event;
}

/** Takes the first one out of a binary heap. */
function pop(heap: Event[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) {
    return;
  }
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    const [left, right] = [heap[child], heap[child + 1]];
    if (left === undefined) {
      break;
    }
    if (right !== undefined && isBefore(right, left)) {
      child += 1;
    }
    const below = heap[child];
    if (below === undefined || !isBefore(below, last)) {
      break;
    }
    heap[at] = below;
    at = child;
  }
  heap[at] = last;
}
