import type { ObjectName } from '../../protocol/object-name.ts';
import type { EngineLimits } from '../pacing/semaphore.ts';
import { EngineRun } from './engine-run.ts';
import type { EngineDeps } from './types.ts';

/**
 * One database's engine as the rest of the agent holds it: it is run once, told what happens outside, and asked what
 * it has.
 *
 * What it is told before its LMDB is open need not be kept: a run begins with a look at the LMDB and a listing of the
 * bucket, and both find it.
 */
export class DatabaseEngine {
  readonly #deps: EngineDeps;
  readonly #limits: EngineLimits;
  /** undefined: its LMDB is not open yet. */
  #run: EngineRun | undefined;

  constructor(deps: EngineDeps, limits: EngineLimits) {
    this.#deps = deps;
    this.#limits = limits;
  }

  /** How many streams the version vector names. */
  get vectorSize(): number {
    return this.#run?.tracker.vector.size ?? 0;
  }

  /** True when the object's content is in the LMDB. */
  has(object: ObjectName): boolean {
    return this.#run?.tracker.has(object) === true;
  }

  /** The LMDB's last transaction is this one, says whoever watches the file. */
  noteChange(txnId: number): void {
    this.#run?.publishLoop.noteChange(txnId);
  }

  /** These objects exist, says somebody; best effort, repetition and disorder are fine. */
  noteNames(names: readonly string[]): void {
    this.#run?.receiveLoop.noteNames(names);
  }

  /** A listing pass is wanted. */
  noteListing(): void {
    this.#run?.receiveLoop.noteListing();
  }

  /**
   * Runs until `signal` aborts (or, with only-once, until everything listed is merged and everything local is
   * stored), then sends the last changes within the shutdown timeout and closes the LMDB. Rejects when the LMDB cannot
   * be opened.
   */
  async run(signal: AbortSignal): Promise<void> {
    const run = await EngineRun.open(this.#deps, this.#limits);
    this.#run = run;
    await run.run(signal);
  }
}
