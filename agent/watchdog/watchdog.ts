/** A loop that is due and makes no progress. */
type Stall = {
  readonly loop: string;
  /** What it waits for, as the end of "loop: …". */
  readonly waitsFor: string;
  readonly forMs: number;
  /** What it waits for is somebody else's, and a restart of the agent would not end it. */
  readonly isElsewhere: boolean;
};

/** What one loop reports: that it is at work, that something moved, and when it will be due again. */
export interface Loop {
  /** Something moved: a chunk, a name of a listing, a slice. */
  progressed(): void;
  /** Runs `work`; until it settles the loop is due, and `what` is what it waits for, unless that is nested in it. */
  during<T>(what: string, work: () => Promise<T>): Promise<T>;
  /** The loop has nothing to do now, and wants to be back in `withinMs` (infinite: when it is told). */
  rests(withinMs: number): void;
}

/** What somebody else knows of a loop's work, which cannot report by itself. */
type LoopProbe = {
  /** Moves whenever the work does. */
  readonly beats: () => number;
  /** What the work itself waits for now; undefined: it is not known to wait. */
  readonly waitsFor: () => string | undefined;
};

/**
 * Knows of every loop of one database whether it is due and makes progress.
 *
 * It is only asked, and never waits itself: a promise that never settles shows here although nobody sees it settle.
 * Its clock should not step, nor run while the host is suspended.
 */
export class Watchdog {
  readonly #nowMs: () => number;
  readonly #loops = new Map<string, WatchedLoop>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The loop of this name; the same one whenever it is asked for. */
  loop(name: string): Loop {
    return this.#loop(name);
  }

  /** From now on this is asked, too, about the loop of that name. */
  probe(name: string, probe: LoopProbe): void {
    this.#loop(name).probe = probe;
  }

  #loop(name: string): WatchedLoop {
    let loop = this.#loops.get(name);
    if (loop === undefined) {
      loop = new WatchedLoop(name, this.#nowMs);
      this.#loops.set(name, loop);
    }
    return loop;
  }

  /** All loops that have been due without progress for at least this long. */
  stalls(limitMs: number): Stall[] {
    return [...this.#loops.values()].flatMap((loop) => {
      const stall = loop.stall();
      return stall === undefined || stall.forMs < limitMs ? [] : [stall];
    });
  }
}

class WatchedLoop implements Loop {
  readonly #name: string;
  readonly #nowMs: () => number;
  /** What is awaited now, the latest last: that is nested in what was begun before. */
  readonly #waits = new Map<number, string>();
  #lastWait = 0;
  #progressedMs: number;
  #dueMs = Number.POSITIVE_INFINITY;
  #lastBeats = 0;
  probe: LoopProbe | undefined;

  constructor(name: string, nowMs: () => number) {
    this.#name = name;
    this.#nowMs = nowMs;
    this.#progressedMs = nowMs();
  }

  progressed(): void {
    this.#progressedMs = this.#nowMs();
  }

  async during<T>(what: string, work: () => Promise<T>): Promise<T> {
    this.#lastWait += 1;
    const wait = this.#lastWait;
    this.#waits.set(wait, what);
    this.progressed();
    try {
      return await work();
    } finally {
      this.#waits.delete(wait);
      this.progressed();
    }
  }

  rests(withinMs: number): void {
    this.#dueMs = this.#nowMs() + withinMs;
  }

  /** Since when it is due without progress; undefined: it is not due. */
  stall(): Stall | undefined {
    const beats = this.probe?.beats() ?? 0;
    if (beats !== this.#lastBeats) {
      this.#lastBeats = beats;
      this.progressed();
    }
    const what = [...this.#waits.values()].at(-1);
    if (what !== undefined) {
      const behind = this.probe?.waitsFor();
      const more = behind === undefined ? '' : `, which waits for ${behind}`;
      return this.#since(this.#progressedMs, `waits for ${what}${more}`, behind !== undefined);
    }
    const sinceMs = Math.max(this.#dueMs, this.#progressedMs);
    return this.#nowMs() < sinceMs ? undefined : this.#since(sinceMs, 'did not come back', false);
  }

  #since(sinceMs: number, waitsFor: string, isElsewhere: boolean): Stall {
    const forMs = Math.max(0, this.#nowMs() - sinceMs);
    return { loop: this.#name, waitsFor, forMs, isElsewhere };
  }
}
