import { DatabaseEngine } from '../../agent/engine/database-engine.ts';
import type { SyncObserver } from '../../agent/engine/observer.ts';
import { Semaphore } from '../../agent/pacing/semaphore.ts';
import type { EngineDeps, EngineSettings } from '../../agent/engine/types.ts';
import type { Sleep } from '../../agent/pacing/sleep.ts';
import { DirectLocalDatabase } from '../../agent/lmdb/thread/direct-database.ts';
import type { DatabaseOptions, LocalDatabase } from '../../agent/lmdb/local-database.ts';
import type { LogFields, Logger } from '../../agent/log/log.ts';
import { SyncError } from '../../protocol/errors.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import type { Clock } from '../../protocol/time.ts';
import type { SeededRandom } from '../support/random.ts';

/** Longer waits end only by a hint or by stopping: the schedule says when passes and bookkeeping happen. */
const LONG_MS = 100_000;
const LONGEST_SLEEP_MS = 3;

export type RunOptions = {
  readonly settings: EngineSettings;
  readonly database: DatabaseOptions;
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly random: SeededRandom;
  /** Whether the next call to the LMDB fails, as with a full map, before it has done anything. */
  readonly databaseFails: (call: string) => boolean;
  readonly onLog: (text: string) => void;
  /** Objects stay this long after they became superfluous; undefined: this agent deletes nothing. */
  readonly mustKeepMs: number | undefined;
};

/**
 * One start of an agent for one database: the real engine on a real LMDB. It ends by {@link stop}, or by
 * {@link crash}: then nothing that it has asked for is ever answered, as if its process were gone.
 */
export class AgentRun {
  readonly engine: DatabaseEngine;
  readonly settings: EngineSettings;
  /** Names of objects that this run left alone because their bytes were bad. */
  readonly quarantined = new Set<string>();
  isStarted = false;
  #failure: Error | undefined;
  readonly #database: DirectLocalDatabase;
  readonly #local: LocalDatabase;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;
  #crashed = false;
  #finished = false;

  constructor(options: RunOptions) {
    const { settings, clock, random } = options;
    this.settings = settings;
    this.#database = new DirectLocalDatabase(options.database, clock);
    this.#local = this.#abandonable(failing(this.#database, options.databaseFails));
    const deps = {
      settings,
      db: this.#local,
      store: this.#abandonable(options.store),
      clock,
      sleep: this.#sleep,
      randomBytes: random.bytes,
      random: random.next,
      log: logger(options.onLog),
      observer: this.#observer(),
      cleaning: options.mustKeepMs === undefined ? undefined : cleaning(options.mustKeepMs),
    };
    this.engine = new DatabaseEngine(deps, { memory: new Semaphore(4) });
    this.#running = this.engine.run(this.#stopping.signal).then(
      () => {
        this.#finished = true;
      },
      (error: unknown) => {
        this.#finished = true;
        this.#failure = error instanceof Error ? error : new Error(String(error));
      },
    );
  }

  /** The engine has ended by itself. */
  get hasFinished(): boolean {
    return this.#finished;
  }

  /** Throws what the engine ended with, if it ended by an error. */
  requireNoFailure(): void {
    if (this.#failure !== undefined) {
      throw this.#failure;
    }
  }

  /** Looks for local changes now, as the engine does. */
  async detect(): Promise<void> {
    if (!this.#finished) {
      await this.#database.detect();
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('stopped'));
    await this.#running;
  }

  /** Resolves when the engine has ended by itself (only-once). */
  async ended(): Promise<void> {
    await this.#running;
  }

  async crash(): Promise<void> {
    this.#crashed = true;
    await this.#database.close();
  }

  /** The same interface, whose answers stay out once this run has crashed. */
  #abandonable<T extends object>(target: T): T {
    const isGone = () => this.#crashed;
    return new Proxy(target, {
      get(inner, property) {
        const value: unknown = Reflect.get(inner, property);
        if (typeof value !== 'function') {
          return value;
        }
        return (...args: unknown[]) => {
          if (isGone()) {
            return never();
          }
          const answer: unknown = Reflect.apply(value as () => unknown, inner, args);
          if (isIterable(answer)) {
            return abandonableItems(answer, isGone);
          }
          return Promise.resolve(answer).then(
            (result) => (isGone() ? never() : result),
            (error: unknown) => {
              if (isGone()) {
                return never();
              }
              throw error;
            },
          );
        };
      },
    });
  }

  readonly #sleep: Sleep = async (ms, signal) => {
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
      const timer = ms >= LONG_MS ? undefined : setTimeout(wake, Math.min(ms, LONGEST_SLEEP_MS));
      signal.addEventListener('abort', abort, { once: true });
    });
    if (this.#crashed) {
      await never();
    }
  };

  #observer(): SyncObserver {
    return {
      ...SILENT,
      started: () => {
        this.isStarted = true;
      },
      quarantined: (object) => this.quarantined.add(object.name),
      released: (name) => this.quarantined.delete(name),
    };
  }
}

function noop(): void {}

const SILENT: SyncObserver = {
  detected: noop,
  generated: noop,
  stored: noop,
  storeFailed: noop,
  listed: noop,
  listFailed: noop,
  loaded: noop,
  loadFailed: noop,
  merged: noop,
  databaseFailed: noop,
  databaseWorked: noop,
  quarantined: noop,
  released: noop,
  started: noop,
  sharedNameSeen: noop,
};

function cleaning(mustKeepMs: number): NonNullable<EngineDeps['cleaning']> {
  return {
    settings: { intervalMs: 1, mustKeepMs, removeOldInstancesMs: 200 },
    observer: {
      listed: noop,
      listFailed: noop,
      deleted: noop,
      deleteFailed: noop,
      finished: noop,
    },
  };
}

function logger(onLog: (text: string) => void): Logger {
  const write = (level: string) => (fields: LogFields, text: string) => {
    onLog(`${level} ${text} ${Object.values(fields).map(String).join(' ')}`);
  };
  const log: Logger = {
    debug: noop,
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: () => log,
  };
  return log;
}

const CALLS_THAT_MAY_FAIL = new Set<string | symbol>([
  'detect',
  'encodeDelta',
  'encodeSnapshot',
  'merge',
  'persist',
]);

/** The same LMDB, some of whose calls fail. */
function failing(database: LocalDatabase, fails: (call: string) => boolean): LocalDatabase {
  return new Proxy(database, {
    get(inner, property) {
      const value: unknown = Reflect.get(inner, property);
      if (typeof value !== 'function') {
        return value;
      }
      return (...args: unknown[]) => {
        if (CALLS_THAT_MAY_FAIL.has(property) && fails(String(property))) {
          const what = `the map is full (injected fault: ${String(property)})`;
          return Promise.reject(new SyncError('MAP_FULL', what, { retryable: true }));
        }
        return Reflect.apply(value as () => unknown, inner, args);
      };
    },
  });
}

function never<T>(): Promise<T> {
  return new Promise<T>(() => undefined);
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

async function* abandonableItems<T>(
  items: AsyncIterable<T>,
  isGone: () => boolean,
): AsyncIterable<T> {
  for await (const item of items) {
    if (isGone()) {
      await never();
    }
    yield item;
  }
  if (isGone()) {
    await never();
  }
}
