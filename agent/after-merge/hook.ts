import { errorText } from '../../protocol/errors.ts';
import { formatGoDuration, timerMs } from '../../protocol/time.ts';
import { retryDelay } from '../pacing/backoff.ts';
import type { Sleep } from '../pacing/sleep.ts';
import { Watchdog } from '../watchdog/watchdog.ts';
import type { Check } from '../watchdog/health-check.ts';
import type { Logger } from '../log/log.ts';
import type { TouchedKeys } from '../lmdb/touched-keys.ts';
import { PendingChanges, type Changes } from './changes.ts';

/** Beyond this many keys of a database only that it changed is remembered. */
export const TOUCHED_KEYS_MAX = 4096;
/** A failed run is tried again for this long; by then what an application has cached is no older than that, either. */
const RETRY_FOR_MS = 60_000;
const LONGEST_RETRY_PAUSE_MS = 10_000;
/** What is told to stop may take so long to do it. */
const STOP_MS = 60_000;

export type HookDeps = {
  readonly name: string;
  /** Does it; rejects where that fails or `signal` aborts. */
  readonly run: (changes: Changes, signal: AbortSignal) => Promise<void>;
  /** A run that takes longer is ended, and has failed. */
  readonly timeoutMs: number;
  /** From the start of one run to the start of the next, at least. */
  readonly minIntervalMs: number;
  readonly observer: HookObserver;
  readonly log: Logger;
  readonly sleep: Sleep;
  readonly now: () => number;
};

export interface HookObserver {
  ran(hook: string, outcome: { readonly failed: boolean; readonly durationMs: number }): void;
}

/**
 * Runs something after merges, beside sync: one run at a time, at once after a quiet time, with everything that was
 * merged meanwhile. Nothing waits for it but {@link close}. A failed run is repeated for a minute, with what has
 * come in since.
 */
export class AfterMergeHook {
  readonly #deps: HookDeps;
  readonly #pending = new PendingChanges(TOUCHED_KEYS_MAX);
  readonly #watchdog: Watchdog;
  readonly #closing = new AbortController();
  #work: Promise<void> | undefined;
  #startedMs = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #failing: { readonly sinceMs: number; error: string } | undefined;

  constructor(deps: HookDeps) {
    this.#deps = deps;
    this.#watchdog = new Watchdog(deps.now);
  }

  /** Something in this database was changed by a merge. */
  note(database: string, touched: TouchedKeys): void {
    if (touched !== 'many' && touched.size === 0) {
      return;
    }
    this.#pending.add(database, touched);
    this.#work ??= this.#runAll().finally(() => {
      this.#work = undefined;
    });
  }

  /** Runs once more where something is pending, without a pause, and ends. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#work;
  }

  /** A warning while runs fail, or where one does not end although its time is over. */
  checks(): Check[] {
    return [...this.#failingRuns(), ...this.#stalls()];
  }

  #stalls(): Check[] {
    const { name, timeoutMs } = this.#deps;
    return this.#watchdog.stalls(timeoutMs + STOP_MS).map(({ forMs }) => ({
      name: `after_merge_${name}_stalled`,
      level: 'warning',
      message: `the hook after merges does not end, sync goes on: its run began ${formatGoDuration(Math.round(forMs / 1000) * 1000)} ago`,
    }));
  }

  #failingRuns(): Check[] {
    if (this.#failing === undefined) {
      return [];
    }
    const forMs = Math.round((this.#deps.now() - this.#failing.sinceMs) / 1000) * 1000;
    return [
      {
        name: `after_merge_${this.#deps.name}_failed`,
        level: 'warning',
        message: `the hook after merges fails since ${formatGoDuration(forMs)}, sync goes on: ${this.#failing.error}`,
      },
    ];
  }

  async #runAll(): Promise<void> {
    const { sleep, now, minIntervalMs } = this.#deps;
    const { signal } = this.#closing;
    while (!this.#pending.isEmpty) {
      const restMs = this.#startedMs + minIntervalMs - now();
      const pauseMs =
        this.#failures === 0
          ? restMs
          : Math.max(restMs, retryDelay(LONGEST_RETRY_PAUSE_MS, this.#failures));
      if (pauseMs > 0 && !signal.aborted) {
        await sleep(pauseMs, signal).catch(() => undefined);
      }
      const isLast = signal.aborted;
      await this.#runOnce();
      if (isLast) {
        return;
      }
    }
  }

  async #runOnce(): Promise<void> {
    const { run, timeoutMs, observer, name, log, now } = this.#deps;
    const changes = this.#pending.take();
    const startedMs = now();
    this.#startedMs = startedMs;
    try {
      await this.#watchdog
        .loop(name)
        .during('its run', () => run(changes, AbortSignal.timeout(timerMs(timeoutMs))));
      observer.ran(name, { failed: false, durationMs: now() - startedMs });
      if (this.#failing !== undefined) {
        log.info({ hook: name }, 'the hook after merges works again');
      }
      this.#failing = undefined;
      this.#failures = 0;
    } catch (cause) {
      observer.ran(name, { failed: true, durationMs: now() - startedMs });
      const error = errorText(cause);
      // One line for as long as it goes on; the metric counts them all.
      if (this.#failing === undefined) {
        log.warn({ hook: name, error }, 'the hook after merges failed, sync goes on');
      }
      this.#failing ??= { sinceMs: startedMs, error };
      this.#failing.error = error;
      this.#failures += 1;
      if (now() - this.#failing.sinceMs >= RETRY_FOR_MS) {
        return;
      }
      for (const [database, touched] of changes) {
        this.#pending.add(database, touched);
      }
    }
  }
}
