import type { DatabaseEngine } from '../../agent/engine/database-engine.ts';
import type { SyncObserver } from '../../agent/engine/observer.ts';
import { SyncObservers } from '../../agent/monitor/sync-observers.ts';
import { Watchdog } from '../../agent/watchdog/watchdog.ts';
import { FollowedEngine } from '../support/followed-engine.ts';
import { CLOCK_LOOK_MS } from '../../agent/pacing/clock-watch.ts';
import { Semaphore } from '../../agent/pacing/semaphore.ts';
import type { SweeperObserver } from '../../agent/engine/housekeeping-types.ts';
import type { EngineDeps, EngineSettings } from '../../agent/engine/types.ts';
import { DirectLocalDatabase } from '../../agent/lmdb/thread/direct-database.ts';
import type { DatabaseOptions, LocalDatabase } from '../../agent/lmdb/local-database.ts';
import { SyncError } from '../../protocol/errors.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import type { Clock } from '../../protocol/time.ts';
import { clearCrashPoint, crashAfterCommits } from './crash-point.ts';
import { HostedEngine, textLog } from '../support/hosted-engine.ts';
import type { SeededRandom } from '../support/random.ts';
import { never, type Owner, type Scheduler } from './time/scheduler.ts';

/** One database of an agent. */
export type AgentDatabase = {
  readonly settings: EngineSettings;
  readonly options: DatabaseOptions;
};

export type AgentOptions = {
  readonly databases: readonly AgentDatabase[];
  readonly scheduler: Scheduler;
  readonly store: ObjectStore;
  readonly clock: Clock;
  /** Calls its argument once, when the clock is set next; undefined: nobody sets it. */
  readonly whenClockSet?: ((tell: () => void) => void) | undefined;
  readonly monotonicMs?: (() => number) | undefined;
  readonly random: SeededRandom;
  /** Usual time of a call to an LMDB. */
  readonly databaseMs: number;
  /** Whether the next call to an LMDB fails, as with a full map, before it has done anything. */
  readonly databaseFails: () => boolean;
  readonly onLog: (text: string) => void;
  readonly cleaning: EngineDeps['cleaning'];
  readonly sweeping: NonNullable<EngineDeps['sweeping']>['settings'] | undefined;
  /** Told of everything that matters to measurements and checks. */
  readonly observer?: Partial<SyncObserver> | undefined;
  readonly onRejoined?: (() => void) | undefined;
  /** How many objects each database holds at a time, from before the fetch until they are merged. */
  readonly downloadPlaces: number;
};

/** One engine of a running agent. */
export type RunningEngine = {
  readonly name: string;
  readonly hosted: HostedEngine;
  readonly followed: FollowedEngine;
  readonly engine: DatabaseEngine;
  readonly path: string;
  readonly database: DirectLocalDatabase;
  /** The LMDB is open: what the application writes from now on is a change that was seen. */
  readonly isOpen: boolean;
};

/**
 * One start of an agent on a host, for all its databases: the real engines on real LMDBs in virtual time. It ends by
 * {@link stop}, or by {@link crash}: then nothing that it has asked for is ever answered, as if its process were gone.
 */
export class SimAgent implements Owner {
  isGone = false;
  /** It will crash in the middle of a call. */
  isDoomed = false;
  readonly engines: RunningEngine[] = [];
  readonly #options: AgentOptions;
  readonly #stopping = new AbortController();
  /** Those that have ended while this process was there. */
  readonly #ended: HostedEngine[] = [];

  constructor(options: AgentOptions & { readonly makeStore: (owner: Owner) => ObjectStore }) {
    this.#options = options;
    const store = options.makeStore(this);
    for (const database of options.databases) {
      this.#start(database, store);
    }
  }

  get hasFinished(): boolean {
    return this.engines.every(({ hosted }) => hosted.hasFinished);
  }

  /** Throws what an engine ended with, if one ended by an error. */
  requireNoFailure(): void {
    for (const hosted of this.#ended) {
      hosted.requireNoFailure();
    }
  }

  find(name: string): RunningEngine | undefined {
    return this.engines.find((engine) => engine.name === name);
  }

  /** All its databases have finished their first pass. */
  get isStarted(): boolean {
    return this.engines.every(({ hosted }) => hosted.isStarted);
  }

  /** Looks for local changes now, as the engine does; false where it could not: not open yet, or failed. */
  async detect(name: string): Promise<boolean> {
    const found = this.find(name);
    if (found === undefined || this.isGone) {
      return false;
    }
    return this.#options.scheduler.working(() =>
      found.database.detect().then(
        () => !this.isGone,
        () => false,
      ),
    );
  }

  /** Resolves when everything has come to its end; time must go on meanwhile. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('stopped'));
    await this.ended();
  }

  async ended(): Promise<void> {
    await Promise.all(this.engines.map(({ hosted }) => hosted.ended));
  }

  /** Crashes in the middle of a call, behind the commit of that number. */
  crashAfter(name: string, commits: number, onCrash: () => void): void {
    const path = this.find(name)?.path;
    if (path === undefined) {
      return;
    }
    this.isDoomed = true;
    crashAfterCommits(path, commits, () => {
      this.isGone = true;
      onCrash();
    });
  }

  async crash(): Promise<void> {
    this.isGone = true;
    const { scheduler } = this.#options;
    await scheduler.working(async () => {
      for (const { database, path } of this.engines) {
        await database.close().catch(() => undefined);
        clearCrashPoint(path);
      }
    });
  }

  #start({ settings, options }: AgentDatabase, store: ObjectStore): void {
    const { clock, monotonicMs, random, scheduler, cleaning, sweeping, onLog } = this.#options;
    // One that was meant for an earlier process, which ended otherwise.
    clearCrashPoint(options.path);
    const database = new DirectLocalDatabase(options, clock);
    let isOpen = false;
    // By the time that passes for all: clocks of hosts step, and go wrong.
    const nowMs = () => scheduler.nowMs;
    const watchdog = new Watchdog(nowMs);
    const followed = new FollowedEngine({ watchdog, nowMs });
    const hosted = new HostedEngine(
      {
        settings,
        db: this.#gated(database, () => {
          isOpen = true;
        }),
        store,
        clock,
        monotonicMs,
        sleep: (ms, signal) => this.#sleep(ms, signal),
        randomBytes: random.bytes,
        random: random.next,
        log: textLog(onLog),
        observer: new SyncObservers([followed.observer, this.#options.observer ?? {}]),
        watchdog,
        cleaning,
        sweeping: sweeping && { settings: sweeping, observer: this.#sweeperObserver() },
        rejoinObserver: this.#sweeperObserver(),
      },
      { signal: this.#stopping.signal, memory: new Semaphore(this.#options.downloadPlaces) },
    );
    void hosted.ended.then(() => {
      if (!this.isGone) {
        this.#ended.push(hosted);
      }
    });
    this.engines.push({
      name: settings.database,
      path: options.path,
      database,
      hosted,
      followed,
      engine: hosted.engine,
      get isOpen() {
        return isOpen;
      },
    });
  }

  /** A look at a clock that nobody has set finds nothing: half the events of long schedules would be such looks. */
  #sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const { scheduler, whenClockSet, random } = this.#options;
    if (ms !== CLOCK_LOOK_MS || whenClockSet === undefined) {
      return scheduler.sleep(ms, this, signal);
    }
    return scheduler.sleepUntil(Number.POSITIVE_INFINITY, {
      owner: this,
      signal,
      woken: (wake) => whenClockSet(() => void scheduler.after(ms * random.next(), wake)),
    });
  }

  /** Calls are carried out in the order in which they were asked, and take some time; some fail. */
  #gated(database: DirectLocalDatabase, onOpen: () => void): LocalDatabase {
    const { scheduler, databaseMs, databaseFails, random } = this.#options;
    let turn: Promise<unknown> = Promise.resolve();
    const halfMs = () => databaseMs * random.next();
    const call = async (property: string, work: () => Promise<unknown>) => {
      await scheduler.sleep(halfMs(), this);
      if (MAY_FAIL.has(property) && databaseFails()) {
        const what = `the map is full (injected fault: ${property})`;
        throw new SyncError('MAP_FULL', what, { retryable: true });
      }
      const result = await scheduler.working(work);
      if (property === 'open') {
        onOpen();
      }
      await scheduler.sleep(halfMs(), this);
      return result;
    };
    return new Proxy<LocalDatabase>(database, {
      get: (inner, property) => {
        const value: unknown = Reflect.get(inner, property);
        if (typeof value !== 'function' || typeof property !== 'string') {
          return value;
        }
        return (...args: unknown[]) => {
          if (this.isGone) {
            return never();
          }
          const work = () => Reflect.apply(value as () => Promise<unknown>, inner, args);
          const answer = turn.then(() => call(property, work));
          // Encoding a full snapshot takes long, and other calls go on meanwhile.
          if (property !== 'encodeSnapshot') {
            turn = answer.catch(() => undefined);
          }
          return answer.then(
            (result) => (this.isGone ? never() : result),
            (error: unknown) => {
              if (this.isGone) {
                return never();
              }
              throw error;
            },
          );
        };
      },
    });
  }

  #sweeperObserver(): SweeperObserver {
    const { onLog, onRejoined } = this.#options;
    return {
      swept: ({ removed }) => {
        if (removed > 0) {
          onLog(`note swept ${removed}`);
        }
      },
      rejoinBegan: () => onLog('note rejoin began'),
      rejoined: ({ dropped, stamped }) => {
        onLog(`note rejoined: ${dropped} dropped, ${stamped} stamped`);
        onRejoined?.();
      },
      rejoinPostponed: (reason) => onLog(`note rejoin postponed: ${reason}`),
    };
  }
}

const MAY_FAIL = new Set(['detect', 'encodeDelta', 'encodeSnapshot', 'merge', 'persist', 'sweep']);
