import type { Clock } from '../../../protocol/time.ts';

const BEGIN_NS = 1_767_225_600_000_000_000n;

/** The time of the simulated world. It moves on a little with every look, and by whole steps when told to. */
export class WorldClock {
  readonly beginNs = BEGIN_NS;
  #nowNs = BEGIN_NS;

  nowNs(): bigint {
    this.#nowNs += 1_000n;
    return this.#nowNs;
  }

  /** The same without moving it. */
  peekNs(): bigint {
    return this.#nowNs;
  }

  advanceMs(ms: number): void {
    this.#nowNs += BigInt(Math.round(ms * 1e6));
  }

  /** Never back. */
  advanceTo(ns: bigint): void {
    if (ns > this.#nowNs) {
      this.#nowNs = ns;
    }
  }
}

/** The clock of one host: the world's, and wrong by `skewMs`. */
export class HostClock implements Clock {
  readonly #world: WorldClock;
  #skewMs = 0;
  #setNs: bigint | undefined;
  #onSet: (() => void)[] = [];

  constructor(world: WorldClock) {
    this.#world = world;
  }

  get skewMs(): number {
    return this.#skewMs;
  }

  /** Sets the clock of the host. */
  set skewMs(skewMs: number) {
    this.#skewMs = skewMs;
    this.#setNs = this.#world.peekNs();
    const waiting = this.#onSet;
    this.#onSet = [];
    for (const tell of waiting) {
      tell();
    }
  }

  /** For how long nobody has set it. */
  get untouchedMs(): number {
    const sinceNs = this.#world.peekNs() - (this.#setNs ?? 0n);
    return Number(sinceNs / 1_000_000n);
  }

  /** Calls `tell` once, when the clock is set next. */
  whenSet(tell: () => void): void {
    this.#onSet.push(tell);
  }

  nowNs(): bigint {
    return this.#world.nowNs() + BigInt(Math.round(this.#skewMs * 1e6));
  }

  /** For how long the host has run, whatever its clock was set to. */
  readonly runningMs = (): number =>
    Number((this.#world.peekNs() - this.#world.beginNs) / 1_000_000n);
}
