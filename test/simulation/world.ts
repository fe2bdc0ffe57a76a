import fs from 'node:fs';
import path from 'node:path';
import type { EngineSettings } from '../../agent/engine/types.ts';
import { parseObjectName } from '../../protocol/object-name.ts';
import { engineSettings } from '../support/engine.ts';
import { silentCleanerObserver } from '../support/hosted-engine.ts';
import { databaseOptions, scratchFolder } from '../support/lmdb.ts';
import { Compactions } from './compactions.ts';
import { Ledger } from './ledger.ts';
import type { SeededRandom } from '../support/random.ts';
import { RecordingStore } from './recording-store.ts';
import { Scheduler, type Owner } from './time/scheduler.ts';
import { SimAgent } from './sim-agent.ts';
import { SimDatabase } from './sim-database.ts';
import { SimStore, type Fate } from './sim-store.ts';
import { shortestRetentionMs, type Traits } from './traits.ts';
import { UpstreamPeer } from './upstream-peer.ts';
import { HostClock } from './time/world-clock.ts';

/** Lines of an engine's log that only happen when something of ours is wrong. */
const BUGS =
  /assert|TypeError|RangeError|undefined|is not|before is not acknowledged|ended unexpectedly/i;
const MAP_BYTES = 16 * 1024 ** 2;
/** Objects that an instance stores without rest are stored by nobody. */
const NOBODY: Owner = { isGone: false };

/** A host of the simulated world: its databases and the agent that may run beside them. */
export type SimHost = {
  readonly label: string;
  readonly index: number;
  readonly instance: string;
  readonly clock: HostClock;
  readonly databases: readonly SimDatabase[];
  agent: SimAgent | undefined;
};

/** Hosts, one bucket, compactors, an instance of upstream's, and what the checks need to know of all of it. */
export class World {
  readonly random: SeededRandom;
  readonly traits: Traits;
  readonly scheduler: Scheduler;
  readonly ledgers = new Map<string, Ledger>();
  readonly bucket: RecordingStore;
  readonly hosts: SimHost[] = [];
  readonly peers: UpstreamPeer[] = [];
  readonly compactions: Compactions;
  readonly trace: string[] = [];
  readonly folder = scratchFolder();
  readonly fate: Fate = { dropsLate: false, isHealing: false };
  /** The bucket has lost something, or its manifest has changed, since that was last looked at. */
  bucketChanged = false;
  readonly #faults: SeededRandom;
  #runs = 0;

  constructor(random: SeededRandom, traits: Traits) {
    this.random = random;
    this.traits = traits;
    this.#faults = random.fork();
    this.scheduler = new Scheduler(random.fork());
    const { clock } = this.scheduler;
    const retentionMs = shortestRetentionMs(traits);
    const dropping =
      retentionMs === undefined
        ? undefined
        : {
            retentionNs: BigInt(retentionMs) * 1_000_000n,
            skewNs: BigInt(2 * traits.skewMs) * 1_000_000n,
          };
    for (const { name } of traits.databases) {
      this.ledgers.set(name, new Ledger({ dropping, nowNs: () => clock.peekNs() }));
    }
    this.bucket = new RecordingStore(
      (database) => this.ledger(database),
      () => Number(clock.peekNs() / 1_000_000n),
    );
    this.compactions = new Compactions({
      bucket: this.bucket,
      scheduler: this.scheduler,
      traits,
      random,
      faults: this.#faults,
      fate: this.fate,
      log: (text) => this.log(text),
    });
    this.bucket.onStored = (name) => this.#announce(name);
    const remove = this.bucket.delete.bind(this.bucket);
    this.bucket.delete = async (name, signal) => {
      await remove(name, signal);
      this.log(`  deleted ${name}`);
      this.bucketChanged = true;
    };
    const replace = this.bucket.putIfUnchanged.bind(this.bucket);
    this.bucket.putIfUnchanged = async (name, bytes, options) => {
      const etag = await replace(name, bytes, options);
      if (etag !== undefined) {
        this.log(`  published ${name}`);
      }
      this.bucketChanged = true;
      return etag;
    };
    for (const [index, instance] of traits.instances.entries()) {
      this.addHost(String.fromCodePoint(65 + index), instance);
    }
    if (traits.upstream) {
      for (const { name, schema } of traits.databases) {
        if (schema === 'native') {
          this.#addPeer(name);
        }
      }
    }
  }

  #mapBytes(index: number): number {
    const { growsMaps, receiveOnly } = this.traits;
    return growsMaps && !receiveOnly.includes(index) ? MAP_BYTES / 64 : MAP_BYTES;
  }

  ledger(database: string): Ledger {
    const ledger = this.ledgers.get(database);
    if (ledger === undefined) {
      throw new Error(`no such database: ${database}`);
    }
    return ledger;
  }

  addHost(label: string, instance: string, mapSizeBytes = this.#mapBytes(this.hosts.length)) {
    const host: SimHost = {
      label,
      index: this.hosts.length,
      instance,
      clock: new HostClock(this.scheduler.clock),
      agent: undefined,
      databases: this.traits.databases.map(
        ({ name, schema }) =>
          new SimDatabase({
            name,
            label: `${label}/${name}`,
            schema,
            file: path.join(this.folder, `${label}-${name}.mdb`),
            mapSizeBytes,
          }),
      ),
    };
    this.hosts.push(host);
    return host;
  }

  log(text: string): void {
    this.trace.push(`${this.scheduler.nowMs.toFixed(3)} ${text}`);
  }

  start(host: SimHost, overrides: Partial<EngineSettings> = {}): SimAgent {
    this.#runs += 1;
    const { traits, scheduler, fate } = this;
    const run = `run${this.#runs}`;
    const { retention, cleaner, skewMs } = traits;
    const receiveOnly = traits.receiveOnly.includes(host.index);
    const sweeps = retention?.sweepers.includes(host.index) === true;
    const agent = new SimAgent({
      databases: host.databases.map((database) => ({
        settings: engineSettings({
          database: database.name,
          instance: host.instance,
          run,
          receiveOnly,
          retryIntervalMs: 5000,
          spoolFolder: this.folder,
          maxDeltas: traits.maxDeltas,
          forceSnapshotIntervalMs: traits.forceSnapshotMs,
          uploadMinIntervalMs: traits.uploadMinIntervalMs,
          persistIntervalMs: traits.persistIntervalMs,
          spoolMemoryBytes: traits.spoolMemoryBytes,
          downloadConcurrency: traits.downloadConcurrency,
          shutdownTimeoutMs: traits.shutdownTimeoutMs,
          upstreamReaders: traits.upstream,
          upstreamSnapshotMinIntervalMs: 500,
          ...overrides,
        }),
        options: databaseOptions(database.file, {
          name: database.name,
          instance: host.instance,
          run,
          schemaTracksChanges: database.schema === 'native',
          allowSchemaUpgrade: traits.upgrades && fate.isHealing,
          spoolFolder: this.folder,
          mapSizeBytes: MAP_BYTES,
          maxLockHoldMs: traits.maxLockHoldMs,
          maxClockSkewMs: 2 * skewMs + 1000,
          pendingBytesMax: traits.pendingBytesMax,
          spoolMemoryBytes: traits.spoolMemoryBytes,
        }),
      })),
      scheduler,
      downloadPlaces: traits.downloadPlaces,
      makeStore: (owner) =>
        new SimStore({
          bucket: this.bucket,
          scheduler,
          random: this.#faults,
          owner,
          network: traits.network,
          fate,
          log: (text) => this.log(`  ${text}`),
        }),
      store: this.bucket,
      clock: host.clock,
      monotonicMs: host.clock.runningMs,
      random: this.random.fork(),
      databaseMs: traits.databaseMs,
      databaseFails: () => !fate.isHealing && this.#faults.chance(traits.databaseFaultRate),
      onLog: (text) => {
        const isWanted = text.startsWith('note ') || process.env.SIMULATION_LOG !== undefined;
        if (isWanted || BUGS.test(text)) {
          this.log(`  ${host.label} ${run}: ${text}`);
        }
      },
      cleaning: cleaner && { settings: cleaner, observer: silentCleanerObserver() },
      sweeping: sweeps
        ? {
            retentionMs: retention.agentsMs,
            firstIntervalMs: 60_000,
            intervalMs: retention.agentsMs / 8,
            lockMs: 50,
            releaseMs: 1000,
          }
        : undefined,
    });
    host.agent = agent;
    this.#listAgain(host, agent);
    return agent;
  }

  /** The agent of a host looks at the database that an application has changed, a little later. */
  tellChange(host: SimHost, database: SimDatabase, ms: number): void {
    const { agent } = host;
    this.scheduler.after(ms, () => {
      if (host.agent === agent) {
        agent?.find(database.name)?.engine.noteChange(database.lastTxn);
      }
    });
  }

  /** Time goes on until the agent has stopped. */
  async stop(host: SimHost): Promise<void> {
    const { agent } = host;
    if (agent === undefined) {
      return;
    }
    await this.lookIfNeeded(host);
    host.agent = undefined;
    let stopped = false;
    const stopping = agent.stop().then(() => {
      stopped = true;
    });
    if (!(await this.scheduler.until(() => stopped || agent.isGone, 3_600_000))) {
      throw new Error(`${host.label} does not stop`);
    }
    if (agent.isGone) {
      await agent.crash();
      return;
    }
    await stopping;
    agent.requireNoFailure();
  }

  async crash(host: SimHost): Promise<void> {
    await this.lookIfNeeded(host);
    const { agent } = host;
    host.agent = undefined;
    await agent?.crash();
    // What it had not looked at gets the time of the last sync at the next start, and may lose.
    for (const { plain } of host.databases) {
      for (const [key, written] of plain) {
        plain.set(key, { ...written, watched: false });
      }
    }
  }

  /** What the application must not do (remove keys, write losers) is repaired only by an agent that saw it. */
  async lookIfNeeded(host: SimHost): Promise<void> {
    for (const database of host.databases) {
      if (!database.mustLook) {
        continue;
      }
      await host.agent?.detect(database.name);
      database.mustLook = false;
    }
  }

  async dispose(): Promise<void> {
    this.compactions.end('crash');
    for (const host of this.hosts) {
      await host.agent?.crash();
      for (const database of host.databases) {
        await database.close();
      }
    }
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  /** Listing passes of one run, from time to time. */
  #listAgain(host: SimHost, agent: SimAgent): void {
    const { listingMs } = this.traits;
    this.scheduler.after(listingMs * (0.8 + 0.4 * this.#faults.next()), () => {
      if (agent.isGone || host.agent !== agent) {
        return;
      }
      for (const { engine } of agent.engines) {
        engine.noteListing();
      }
      this.#listAgain(host, agent);
    });
  }

  /** Notices of a new object: late, in any order, repeated, or never. */
  #announce(name: string): void {
    const object = parseObjectName(name);
    this.log(`  stored ${name}`);
    if (object === undefined || object.kind === 'base') {
      return;
    }
    const { noticeLoss, noticeMs } = this.traits;
    for (const host of this.hosts) {
      if (host.instance === object.instance && !this.#faults.chance(0.2)) {
        continue;
      }
      if (this.#faults.chance(noticeLoss)) {
        continue;
      }
      const times = this.#faults.chance(0.1) ? 2 : 1;
      for (let time = 0; time < times; time += 1) {
        this.scheduler.after(noticeMs * this.#faults.next(), () => {
          host.agent?.find(object.database)?.engine.noteNames([name]);
        });
      }
    }
  }

  #addPeer(database: string): void {
    const { scheduler, traits } = this;
    const store = new SimStore({
      bucket: this.bucket,
      scheduler,
      random: this.#faults,
      owner: NOBODY,
      network: { ...traits.network, faultRate: 0, hurtRate: 0 },
      fate: this.fate,
      log: () => undefined,
    });
    const peer = new UpstreamPeer({ store, database, nowNs: () => scheduler.clock.nowNs() });
    this.peers.push(peer);
    const again = () => {
      void peer.round().then(
        () => scheduler.after(traits.listingMs * 0.5, again),
        () => scheduler.after(traits.listingMs * 0.5, again),
      );
    };
    scheduler.after(1, again);
  }
}
