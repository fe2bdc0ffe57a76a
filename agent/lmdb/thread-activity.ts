const PHASE = 0;
const BEATS = 1;
const WAITS_FOR_LOCK = 1;

/**
 * What a thread that works on an LMDB is doing, in memory that other threads read while it is blocked.
 *
 * Waiting for the write lock blocks the whole thread: it can answer nobody then, but this says so.
 */
export class ThreadActivity {
  readonly buffer: SharedArrayBuffer;
  readonly #cells: Int32Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(8)) {
    this.buffer = buffer;
    this.#cells = new Int32Array(buffer);
  }

  /** The thread is waiting for the LMDB's write lock at this moment. */
  get isWaitingForLock(): boolean {
    return Atomics.load(this.#cells, PHASE) === WAITS_FOR_LOCK;
  }

  /** Moves with every write transaction that began or ended. */
  get beats(): number {
    return Atomics.load(this.#cells, BEATS);
  }

  /** To be called before the lock is asked for. */
  askedForLock(): void {
    this.#move(WAITS_FOR_LOCK);
  }

  /** To be called when the lock was got, or is no longer asked for. */
  gotLock(): void {
    this.#move(0);
  }

  #move(phase: number): void {
    Atomics.store(this.#cells, PHASE, phase);
    Atomics.add(this.#cells, BEATS, 1);
  }
}
