import path from 'node:path';
import type { DatabaseEngine } from '../../agent/engine/database-engine.ts';
import type { EngineDeps, EngineSettings } from '../../agent/engine/types.ts';
import { DirectLocalDatabase } from '../../agent/lmdb/thread/direct-database.ts';
import type { Logger } from '../../agent/log/log.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { engineSettings } from './engine.ts';
import type { FakeClock } from './fake-clock.ts';
import { HostedEngine, recordingLog, shortSleep } from './hosted-engine.ts';
import { Application, databaseOptions, dumpEntries, type DumpedEntry } from './lmdb.ts';

/** Waits longer than this last until they are aborted: a test says itself when time passes. */
const LONG_MS = 10_000;
const EVENTUALLY_MS = 20_000;
const MAP_BYTES = 16 * 1024 ** 2;

export type EngineHostOptions = {
  readonly folder: string;
  readonly instance: string;
  readonly store: ObjectStore;
  readonly clock: FakeClock;
};

let hosts = 0;

/** A host of one database: its application, and the engine that is started and stopped beside it. */
export class EngineHost {
  readonly file: string;
  app: Application;
  readonly warnings: string[] = [];
  readonly #options: EngineHostOptions;
  #runs = 0;
  #hosted: HostedEngine | undefined;
  #stop = new AbortController();

  constructor(options: EngineHostOptions) {
    this.#options = options;
    hosts += 1;
    this.file = path.join(options.folder, `host-${hosts}.lmdb`);
    this.app = new Application(this.file, { mapSize: MAP_BYTES });
  }

  get engine(): DatabaseEngine {
    if (this.#hosted === undefined) {
      throw new Error('not started');
    }
    return this.#hosted.engine;
  }

  /** Starts an engine; resolves when its first listing pass is complete, unless told not to wait. */
  async start(
    overrides: Partial<EngineSettings> = {},
    more: Partial<EngineDeps> & { readonly wait?: boolean } = {},
  ): Promise<void> {
    const { instance, clock, store, folder } = this.#options;
    this.#runs += 1;
    const run = `${instance}run${this.#runs}`;
    const { wait, ...deps } = more;
    const settings = engineSettings({ instance, run, spoolFolder: folder, ...overrides });
    this.#stop = new AbortController();
    const hosted = new HostedEngine(
      {
        settings,
        db: new DirectLocalDatabase(
          databaseOptions(this.file, {
            instance,
            run,
            spoolFolder: folder,
            mapSizeBytes: MAP_BYTES,
          }),
          clock,
        ),
        store,
        clock,
        sleep: hostSleep,
        randomBytes: (size) => new Uint8Array(size).fill(7),
        random: () => 0.5,
        log: this.#log(),
        ...deps,
      },
      { signal: this.#stop.signal },
    );
    this.#hosted = hosted;
    if (wait !== false) {
      await this.eventually(() => hosted.isStarted);
    }
  }

  /** Puts another file in the place of the LMDB, as an operator does who has stopped the application. */
  async replaceFile(work: () => void): Promise<void> {
    await this.app.close();
    work();
    const hosted = this.#hosted;
    if (hosted !== undefined) {
      // Both are in this process: the lock file must not be open twice.
      hosted.engine.noteReplaced();
      await this.eventually(() => this.warnings.includes('beginning a new run'));
    }
    this.app = new Application(this.file, { mapSize: MAP_BYTES });
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('stopped'));
    const hosted = this.#hosted;
    await hosted?.ended;
    hosted?.requireNoFailure();
    this.#hosted = undefined;
  }

  /** The application writes one entry, with the time of the host's clock; undefined: it deletes it. */
  write(key: string, value: string | undefined): void {
    const deleted = value === undefined;
    const txnId = this.app.put('d', key, { value, deleted, ts: this.#options.clock.nowNs() });
    this.#hosted?.engine.noteChange(txnId);
  }

  /** Key to entry, in the one DBI that the application of these tests has. */
  entries(): Record<string, DumpedEntry> {
    return dumpEntries(this.file)['d'] ?? {};
  }

  /** Key to value, deleted ones as undefined. */
  values(): Record<string, string | undefined> {
    return Object.fromEntries(
      Object.entries(this.entries()).map(([key, { value, deleted }]) => [
        key,
        deleted ? undefined : value,
      ]),
    );
  }

  async eventually(condition: () => boolean | Promise<boolean>): Promise<void> {
    const endMs = performance.now() + EVENTUALLY_MS;
    while (!(await condition())) {
      if (performance.now() > endMs) {
        throw new Error(`never happened; warnings: ${this.warnings.join('; ')}`);
      }
      await new Promise((resolve) => {
        setTimeout(resolve, 1);
      });
    }
  }

  async close(): Promise<void> {
    if (this.#hosted !== undefined) {
      await this.stop();
    }
    await this.app.close();
  }

  #log(): Logger {
    return recordingLog((level, text) => {
      if (level !== 'info') {
        this.warnings.push(text);
      }
    });
  }
}

/** The pauses of a host: short ones are shorter still, long ones never end by themselves. */
export async function hostSleep(ms: number, signal: AbortSignal): Promise<void> {
  await shortSleep(ms, { signal, longestMs: 5, endlessFromMs: LONG_MS });
}
