import type { DatabaseEngine } from '../../agent/engine/database-engine.ts';
import type { SyncObserver } from '../../agent/engine/observer.ts';
import type { EngineDeps, EngineSettings } from '../../agent/engine/types.ts';
import { Semaphore } from '../../agent/pacing/semaphore.ts';
import type { Sleep } from '../../agent/pacing/sleep.ts';
import { DirectLocalDatabase } from '../../agent/lmdb/thread/direct-database.ts';
import type { DatabaseOptions, LocalDatabase } from '../../agent/lmdb/local-database.ts';
import { SyncError } from '../../protocol/errors.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import type { Clock } from '../../protocol/time.ts';
import {
  HostedEngine,
  shortSleep,
  silentCleanerObserver,
  textLog,
} from '../support/hosted-engine.ts';
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
  /** How many objects are held at a time, from before the fetch until they are merged. */
  readonly downloadPlaces: number;
  /** Told of what the engine does; what it throws comes out where the engine told it. */
  readonly observer?: Partial<SyncObserver> | undefined;
};

/**
 * One start of an agent for one database: the real engine on a real LMDB. It ends by {@link stop}, or by
 * {@link crash}: then nothing that it has asked for is ever answered, as if its process were gone.
 */
export class AgentRun {
  readonly settings: EngineSettings;
  readonly #hosted: HostedEngine;
  readonly #database: DirectLocalDatabase;
  readonly #stopping = new AbortController();
  #crashed = false;

  constructor(options: RunOptions) {
    const { settings, clock, random } = options;
    this.settings = settings;
    this.#database = new DirectLocalDatabase(options.database, clock);
    this.#hosted = new HostedEngine(
      {
        settings,
        db: this.#abandonable(failing(this.#database, options.databaseFails)),
        store: this.#abandonable(options.store),
        clock,
        sleep: this.#sleep,
        randomBytes: random.bytes,
        random: random.next,
        log: textLog(options.onLog),
        observer: options.observer,
        cleaning: options.mustKeepMs === undefined ? undefined : cleaning(options.mustKeepMs),
      },
      { signal: this.#stopping.signal, memory: new Semaphore(options.downloadPlaces) },
    );
  }

  get engine(): DatabaseEngine {
    return this.#hosted.engine;
  }

  get isStarted(): boolean {
    return this.#hosted.isStarted;
  }

  /** Names of objects that this run left alone because their bytes were bad. */
  get quarantined(): ReadonlySet<string> {
    return this.#hosted.quarantined;
  }

  /** Throws what the engine ended with, if it ended by an error. */
  requireNoFailure(): void {
    this.#hosted.requireNoFailure();
  }

  /** Looks for local changes now, as the engine does. */
  async detect(): Promise<void> {
    if (!this.#hosted.hasFinished) {
      await this.#database.detect();
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('stopped'));
    await this.#hosted.ended;
  }

  /** Resolves when the engine has ended by itself (only-once). */
  async ended(): Promise<void> {
    await this.#hosted.ended;
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
    await shortSleep(ms, { signal, longestMs: LONGEST_SLEEP_MS, endlessFromMs: LONG_MS });
    if (this.#crashed) {
      await never();
    }
  };
}

function cleaning(mustKeepMs: number): NonNullable<EngineDeps['cleaning']> {
  return {
    settings: { intervalMs: 1, mustKeepMs, removeOldInstancesMs: 200 },
    observer: silentCleanerObserver(),
  };
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
