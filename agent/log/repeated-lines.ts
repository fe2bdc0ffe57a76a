import type { LogFields, Logger } from './log.ts';

/** How often a line that goes on and on is summed up. */
const SUM_UP_MS = 60_000;
/** More kinds of lines at a time than this: the oldest is logged anew when it comes again. */
const KEYS_MAX = 1000;

type Repeated = { loggedMs: number; unlogged: number };

/**
 * Logs what goes on and on once, then sums it up: at most one line a minute for each key, which says how many more there
 * were. Every retry is logged by one of these.
 */
export class RepeatedLines {
  readonly #log: Logger;
  readonly #nowMs: () => number;
  readonly #repeated = new Map<string, Repeated>();

  constructor(log: Logger, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  /** Logs a warning, unless one with this key was logged within the last minute. */
  warn(key: string, fields: LogFields, text: string): void {
    const nowMs = this.#nowMs();
    const known = this.#repeated.get(key);
    const sinceMs = known === undefined ? 0 : nowMs - known.loggedMs;
    // A clock that was set back must not silence it.
    if (known !== undefined && sinceMs >= 0 && sinceMs < SUM_UP_MS) {
      known.unlogged += 1;
      return;
    }
    this.#log.warn({ ...fields, ...summary(known, sinceMs) }, text);
    this.#repeated.delete(key);
    this.#repeated.set(key, { loggedMs: nowMs, unlogged: 0 });
    const [oldest] = this.#repeated.keys();
    if (this.#repeated.size > KEYS_MAX && oldest !== undefined) {
      this.#repeated.delete(oldest);
    }
  }

  /** It is over: says so, where it had been logged, and how many were not. */
  over(key: string, fields: LogFields, text: string): void {
    const known = this.#repeated.get(key);
    if (known === undefined) {
      return;
    }
    this.#repeated.delete(key);
    this.#log.info({ ...fields, ...summary(known, this.#nowMs() - known.loggedMs) }, text);
  }
}

function summary(known: Repeated | undefined, sinceMs: number): LogFields {
  return known === undefined || known.unlogged === 0
    ? {}
    : { more: known.unlogged, in_seconds: Math.round(sinceMs / 1000) };
}
