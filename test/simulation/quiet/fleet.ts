import fs from 'node:fs';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import type { SyncObserver } from '../../../agent/engine/observer.ts';
import type { EngineSettings } from '../../../agent/engine/types.ts';
import { compact } from '../../../compaction/compact.ts';
import { DEFAULT_POLICY, type CompactionPolicy } from '../../../compaction/policy.ts';
import { MemoryScratch } from '../../support/compaction.ts';
import { engineSettings } from '../../support/engine.ts';
import { FaultyStore, type Fault, type StoreCall } from '../../support/faulty-store.ts';
import { databaseOptions, scratchFolder } from '../../support/lmdb.ts';
import { AgentRun } from '../agent-run.ts';
import { Host } from '../host.ts';
import { Ledger } from '../ledger.ts';
import type { SeededRandom } from '../../support/random.ts';
import { RecordingStore } from '../recording-store.ts';
import { WorldClock } from '../time/world-clock.ts';

/** What one schedule plays with. */
export type Traits = {
  readonly instances: readonly string[];
  readonly keys: readonly string[];
  readonly faultRate: number;
  readonly databaseFaultRate: number;
  readonly damages: boolean;
  /** Of the agents' cleaners; undefined: they have none. */
  readonly mustKeepMs: number | undefined;
  readonly maxDeltas: number;
  readonly persistIntervalMs: number;
  readonly pendingBytesMax: number;
  readonly spoolMemoryBytes: number;
  readonly downloadConcurrency: number;
  readonly downloadPlaces: number;
  readonly shutdownTimeoutMs: number;
  readonly upstreamReaders: boolean;
  readonly compaction: Partial<CompactionPolicy> | undefined;
};

/** Lines of an engine's log that only happen when something of ours is wrong. */
const BUGS = /assert|TypeError|undefined|is not|before is not acknowledged|ended unexpectedly/i;

/** The hosts of one simulated world, the bucket between them, and everything that the checks need to know. */
export class Fleet {
  readonly random: SeededRandom;
  readonly traits: Traits;
  readonly clock = new WorldClock();
  readonly ledger = new Ledger();
  readonly bucket: RecordingStore;
  readonly store: FaultyStore;
  readonly hosts: Host[] = [];
  readonly history: string[] = [];
  readonly folder = scratchFolder();
  readonly #faults: SeededRandom;
  readonly #compactions = new Set<Promise<void>>();
  #compactionStop = new AbortController();
  #runs = 0;

  constructor(random: SeededRandom, traits: Traits) {
    this.random = random;
    this.traits = traits;
    this.#faults = random.fork();
    this.bucket = new RecordingStore(this.ledger, () => Number(this.clock.nowNs() / 1_000_000n));
    this.store = new FaultyStore(this.bucket, (call) => this.#drawFault(call));
    this.store.pause = async () => {
      await pause(this.#faults.below(3));
    };
    for (const [index, instance] of traits.instances.entries()) {
      this.addHost(String.fromCodePoint(65 + index), instance);
    }
  }

  addHost(label: string, instance: string): Host {
    const host = new Host({ folder: this.folder, label, instance, clock: this.clock });
    this.hosts.push(host);
    return host;
  }

  log(text: string): void {
    this.history.push(text);
  }

  start(host: Host, overrides: Partial<EngineSettings> = {}): AgentRun {
    this.#runs += 1;
    const { traits } = this;
    const run = `run${this.#runs}`;
    const settings = engineSettings({
      instance: host.instance,
      run,
      retryIntervalMs: 10,
      spoolFolder: this.folder,
      maxDeltas: traits.maxDeltas,
      persistIntervalMs: traits.persistIntervalMs,
      spoolMemoryBytes: traits.spoolMemoryBytes,
      downloadConcurrency: traits.downloadConcurrency,
      shutdownTimeoutMs: traits.shutdownTimeoutMs,
      upstreamReaders: traits.upstreamReaders,
      upstreamSnapshotMinIntervalMs: 5,
      ...overrides,
    });
    const started = new AgentRun({
      settings,
      database: databaseOptions(host.file, {
        instance: host.instance,
        run,
        spoolFolder: this.folder,
        mapSizeBytes: 16 * 1024 ** 2,
        pendingBytesMax: traits.pendingBytesMax,
        spoolMemoryBytes: traits.spoolMemoryBytes,
      }),
      store: this.store,
      clock: host.clock,
      random: this.random.fork(),
      mustKeepMs: traits.mustKeepMs,
      downloadPlaces: traits.downloadPlaces,
      observer: this.observer,
      databaseFails: (call) => this.databaseFails(call),
      onLog: (text) => {
        if (process.env.SIMULATION_LOG !== undefined || BUGS.test(text)) {
          this.log(`    ${host.label} ${run}: ${text}`);
        }
      },
    });
    host.run = started;
    return started;
  }

  async stop(host: Host): Promise<void> {
    await this.lookIfNeeded(host);
    const { run } = host;
    host.run = undefined;
    await run?.stop();
    run?.requireNoFailure();
  }

  async crash(host: Host): Promise<void> {
    await this.lookIfNeeded(host);
    const { run } = host;
    host.run = undefined;
    await run?.crash();
  }

  /** What the application must not do (remove keys, write losers) is repaired only by an agent that saw it. */
  async lookIfNeeded(host: Host): Promise<void> {
    if (!host.mustLook) {
      return;
    }
    await host.run?.detect();
    host.mustLook = false;
  }

  /** Begins one run of the compactor; it goes on beside everything else. */
  startCompaction(): void {
    const { compaction } = this.traits;
    if (compaction === undefined) {
      return;
    }
    const random = this.random.fork();
    const { signal } = this.#compactionStop;
    const work = compact({
      store: this.store,
      database: 'main',
      scratch: new MemoryScratch(),
      policy: {
        ...DEFAULT_POLICY,
        mustKeepMs: 0,
        ...compaction,
        upstreamReads: this.traits.upstreamReaders,
      },
      signal,
      nowNs: () => this.clock.nowNs(),
      monotonicMs: () => 0,
      random: random.bytes,
      writer: 'simulation',
    }).then(
      (report) => this.log(`    compaction: ${report.outcome}`),
      (error: unknown) => this.log(`    compaction ended: ${String(error)}`),
    );
    this.#compactions.add(work);
    void work.then(() => this.#compactions.delete(work));
  }

  async stopCompactions(): Promise<void> {
    this.#compactionStop.abort(new Error('killed'));
    await Promise.all(this.#compactions);
    this.#compactionStop = new AbortController();
  }

  async compactionsEnded(): Promise<void> {
    await Promise.all(this.#compactions);
  }

  /** Lets everything that is under way go on for a while. */
  async turns(count: number): Promise<void> {
    for (let turn = 0; turn < count; turn += 1) {
      await nextTurn();
    }
  }

  async dispose(): Promise<void> {
    await this.stopCompactions();
    for (const host of this.hosts) {
      await host.run?.crash();
      await host.close();
    }
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  #drawFault(call: StoreCall): Fault {
    if (!this.#faults.chance(this.traits.faultRate) || this.isHealing) {
      return 'none';
    }
    switch (call) {
      case 'list':
        return this.#faults.weighted({ fail: 1, slow: 4 });
      case 'get':
        return this.#faults.weighted({ fail: 2, slow: 4, 'cut off': 1 });
      case 'create':
        return this.#faults.weighted({ fail: 2, slow: 3, 'answer lost': 2, 'lands later': 2 });
      default:
        return this.#faults.weighted({ fail: 1, slow: 2, 'answer lost': 1, 'lands later': 1 });
    }
  }

  /** Whether the next call to an LMDB fails. */
  databaseFails: (call: string) => boolean = () =>
    !this.isHealing && this.#faults.chance(this.traits.databaseFaultRate);

  /** What agents that start from now on tell of, and what comes back from it. */
  observer: Partial<SyncObserver> | undefined;

  /** Storage is well from now on. */
  isHealing = false;
}
