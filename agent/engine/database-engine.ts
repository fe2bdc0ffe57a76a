import { errorText, SyncError } from '../../protocol/errors.ts';
import { newRun, streamOf, type ObjectName, type StreamId } from '../../protocol/object-name.ts';
import type { EngineLimits } from '../pacing/semaphore.ts';
import { EngineRun } from './engine-run.ts';
import type { EngineDeps } from './types.ts';

/** Between two tries to open the file that has come to the path. */
const REOPEN_PAUSE_MS = 1000;

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

  /** Another file has come to the LMDB's path, says whoever watches it. */
  noteReplaced(): void {
    // The look that follows sees it, too, and ends the run.
    this.#run?.publishLoop.wake();
  }

  /**
   * Runs until `signal` aborts (or, with only-once, until everything listed is merged and everything local is
   * stored), then sends the last changes within the shutdown timeout and closes the LMDB. Rejects when the LMDB cannot
   * be opened. One that is replaced meanwhile is opened anew, by another run with a stream of its own.
   */
  async run(signal: AbortSignal): Promise<void> {
    let deps = this.#deps;
    let run = await EngineRun.open(deps, this.#limits);
    for (;;) {
      this.#run = run;
      const next = await run.run(signal);
      // What it knows is not true of the LMDB that the next one opens.
      this.#run = undefined;
      if (next === undefined) {
        return;
      }
      const { settings } = deps;
      const stream = next.forgetsStream ? streamOf(settings.instance, settings.run) : undefined;
      deps = { ...deps, settings: { ...settings, run: newRun(deps.randomBytes) } };
      deps.log.warn({ reason: next.reason, run: deps.settings.run }, 'beginning a new run');
      const following = await this.#openAgain(deps, { stream, signal });
      if (following === undefined) {
        return;
      }
      run = following;
    }
  }

  /** Opens the LMDB for another run as soon as that can be done; undefined: `signal` has aborted, and it is closed. */
  async #openAgain(
    deps: EngineDeps,
    { stream, signal }: { readonly stream: StreamId | undefined; readonly signal: AbortSignal },
  ): Promise<EngineRun | undefined> {
    const { db, settings, observer, log, sleep } = deps;
    let said: string | undefined;
    while (!signal.aborted) {
      try {
        const again = { run: settings.run, forgetStream: stream };
        const run = await EngineRun.open(deps, this.#limits, again);
        observer.stepWorked('local changes');
        log.info({}, 'The LMDB is open again');
        return run;
      } catch (error) {
        observer.stepFailed('local changes', error);
        const text = errorText(error);
        if (text !== said) {
          said = text;
          log.warn({ error: text, try: hintOf(error) }, 'cannot open the LMDB again, trying on');
        }
      }
      const pauseMs = Math.min(settings.retryIntervalMs, REOPEN_PAUSE_MS);
      await sleep(pauseMs, signal).catch(() => undefined);
    }
    await db.close();
    return undefined;
  }
}

function hintOf(error: unknown): string | undefined {
  return error instanceof SyncError ? error.hint : undefined;
}
