import { errorText } from '../../protocol/errors.ts';
import { DatabaseEngine } from '../../agent/engine/database-engine.ts';
import type { CleanerObserver } from '../../agent/engine/housekeeping-types.ts';
import type { SyncObserver } from '../../agent/engine/observer.ts';
import type { EngineDeps } from '../../agent/engine/types.ts';
import type { LogFields, Logger } from '../../agent/log/log.ts';
import { SyncObservers } from '../../agent/monitor/sync-observers.ts';
import { Semaphore } from '../../agent/pacing/semaphore.ts';
import { Watchdog } from '../../agent/watchdog/watchdog.ts';

/** What an engine needs; of its observer only what the harness wants to be told of. */
export type HostedDeps = Omit<EngineDeps, 'observer' | 'watchdog'> & {
  readonly observer?: Partial<SyncObserver> | undefined;
  readonly watchdog?: Watchdog | undefined;
};

/** One start of the real engine, which runs until `signal` aborts, and what every harness asks of it. */
export class HostedEngine {
  readonly engine: DatabaseEngine;
  /** Names of objects that this run left alone because their bytes were bad. */
  readonly quarantined = new Set<string>();
  /** Resolves when it has ended, also by an error. */
  readonly ended: Promise<void>;
  isStarted = false;
  hasFinished = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(
    deps: HostedDeps,
    options: { readonly signal: AbortSignal; readonly memory?: Semaphore | undefined },
  ) {
    const observer = new SyncObservers([
      deps.observer ?? {},
      {
        started: () => {
          this.isStarted = true;
        },
        quarantined: ({ name }) => this.quarantined.add(name),
        released: (name) => this.quarantined.delete(name),
        // In the agent the monitor logs these.
        storeFailed: (name, error) => {
          if (name === undefined) {
            deps.log.error({ error: errorText(error) }, 'sending ended unexpectedly');
          }
        },
        stepFailed: (step, error) => deps.log.warn({ error: errorText(error) }, `${step} failed`),
      },
    ]);
    const memory = options.memory ?? new Semaphore(4);
    const watchdog = deps.watchdog ?? new Watchdog(() => Number(deps.clock.nowNs() / 1000n) / 1000);
    this.engine = new DatabaseEngine({ ...deps, observer, watchdog }, { memory });
    this.ended = this.engine.run(options.signal).then(
      () => {
        this.hasFinished = true;
      },
      (error: unknown) => {
        this.hasFinished = true;
        this.#failure = { error };
      },
    );
  }

  /** Throws what the engine ended with, if it ended by an error. */
  requireNoFailure(): void {
    if (this.#failure !== undefined) {
      throw this.#failure.error;
    }
  }
}

/** An observer of a cleaner that nothing comes of. */
export function silentCleanerObserver(): CleanerObserver {
  return { listed: noop, listFailed: noop, deleted: noop, deleteFailed: noop, finished: noop };
}

type Level = 'info' | 'warn' | 'error';

/** A log of all but debug lines. */
export function recordingLog(
  onLine: (level: Level, text: string, fields: LogFields) => void,
): Logger {
  const write = (level: Level) => (fields: LogFields, text: string) => onLine(level, text, fields);
  const log: Logger = {
    debug: noop,
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: () => log,
  };
  return log;
}

/** A log whose lines are text: level, message, values of the fields. */
export function textLog(onLog: (text: string) => void): Logger {
  return recordingLog((level, text, fields) => {
    onLog(`${level} ${text} ${Object.values(fields).map(String).join(' ')}`);
  });
}

/** Waits `ms`, but `longestMs` at most; from `endlessFromMs` on a wait ends only when it is aborted. */
export async function shortSleep(
  ms: number,
  options: {
    readonly signal: AbortSignal;
    readonly longestMs: number;
    readonly endlessFromMs: number;
  },
): Promise<void> {
  const { signal, longestMs, endlessFromMs } = options;
  signal.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const wake = () => {
      signal.removeEventListener('abort', abort);
      resolve();
    };
    const timer = ms >= endlessFromMs ? undefined : setTimeout(wake, Math.min(ms, longestMs));
    signal.addEventListener('abort', abort, { once: true });
  });
}

function noop(): void {}
