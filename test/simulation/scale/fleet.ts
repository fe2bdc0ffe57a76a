import fs from 'node:fs';
import path from 'node:path';
import { backoff } from '../../../agent/pacing/backoff.ts';
import { QueueNotices } from '../../../agent/notices/queue.ts';
import type { EngineSettings } from '../../../agent/engine/types.ts';
import type { Logger } from '../../../agent/log/log.ts';
import { compact } from '../../../compaction/compact.ts';
import { DEFAULT_POLICY } from '../../../compaction/policy.ts';
import type { Register } from '../../../protocol/register.ts';
import { MemoryScratch } from '../../support/compaction.ts';
import { engineSettings } from '../../support/engine.ts';
import { databaseOptions, scratchFolder } from '../../support/lmdb.ts';
import { differences } from '../host.ts';
import { Ledger } from '../ledger.ts';
import type { SeededRandom } from '../../support/random.ts';
import { RecordingStore } from '../recording-store.ts';
import { Scheduler } from '../time/scheduler.ts';
import { SimAgent } from '../sim-agent.ts';
import { SimDatabase } from '../sim-database.ts';
import { SimStore, type Requests } from '../sim-store.ts';
import { VirtualQueues, type QueueTimes } from '../virtual-queues.ts';
import { HostClock } from '../time/world-clock.ts';

/** The times that stand for AWS; reckoned, not measured: see the report. */
export type ScaleTimes = QueueTimes & {
  /** Half of a request to S3, on the average. */
  readonly s3HalfMs: number;
  /** Half of a call to the LMDB at most. */
  readonly lmdbHalfMs: number;
  /** From a commit to the agent's look at it at most: inotify. */
  readonly watchMs: number;
};

export type FleetSettings = {
  readonly agents: number;
  readonly safetyListMs: number;
  readonly compactionMs: number;
  readonly times: ScaleTimes;
};

const DATABASE = 'main';
const MAP_BYTES = 64 * 1024 ** 2;
/** What agents have by default. */
const DEFAULTS: Partial<EngineSettings> = {
  retryIntervalMs: 5000,
  forceSnapshotIntervalMs: 4 * 3_600_000,
  uploadMinIntervalMs: 1000,
  uploadBurst: 20,
};
const WAIT_TIME_MS = 20_000;
const LOOK_MS = 1000;

/** One host with its application and its agent. */
export type ScaleHost = {
  readonly instance: string;
  readonly database: SimDatabase;
  readonly clock: HostClock;
  agent: SimAgent | undefined;
  stopNotices: AbortController;
};

/** What is counted while it is measured. */
export type Traffic = { readonly s3: Requests; uploadedBytes: number; downloadedBytes: number };

/**
 * Many agents on one database in virtual time, nothing goes wrong: the real engines, notices, fan-out and compactor, with
 * every request counted, and the time from each commit to its merge at each other host.
 */
export class ScaleFleet {
  readonly scheduler: Scheduler;
  readonly queues: VirtualQueues;
  readonly bucket: RecordingStore;
  readonly ledger = new Ledger();
  readonly hosts: ScaleHost[] = [];
  /** From the commit to the merge, milliseconds. */
  readonly lagsMs: number[] = [];
  agentTraffic = noTraffic();
  compactorTraffic = noTraffic();
  compactions = 0;
  readonly #settings: FleetSettings;
  readonly #random: SeededRandom;
  readonly #folder = scratchFolder();
  readonly #commits = new Map<bigint, { readonly host: ScaleHost; readonly atMs: number }>();
  readonly #arrived = new Map<SimDatabase, Set<bigint>>();
  #runs = 0;

  constructor(random: SeededRandom, settings: FleetSettings) {
    this.#random = random;
    this.#settings = settings;
    this.scheduler = new Scheduler(random.fork());
    const { times } = settings;
    this.queues = new VirtualQueues(this.scheduler, { random: random.fork(), times });
    this.bucket = new RecordingStore(this.ledger, () => this.epochMs);
    this.bucket.onStored = (name) => this.queues.objectStored(name, 500);
    for (let index = 0; index < settings.agents; index += 1) {
      const instance = `host-${index}`;
      const file = path.join(this.#folder, `${instance}.mdb`);
      const options = { name: DATABASE, label: instance, file, mapSizeBytes: MAP_BYTES };
      this.hosts.push({
        instance,
        database: new SimDatabase({ ...options, schema: 'native' }),
        clock: new HostClock(this.scheduler.clock),
        agent: undefined,
        stopNotices: new AbortController(),
      });
    }
    this.#compactAgain();
  }

  get epochMs(): number {
    return Number(this.scheduler.clock.peekNs() / 1_000_000n);
  }

  /** Forgets what was counted so far. */
  beginMeasuring(): void {
    this.agentTraffic = noTraffic();
    this.compactorTraffic = noTraffic();
    this.compactions = 0;
    this.lagsMs.length = 0;
    this.#commits.clear();
    this.queues.forgetRequests();
  }

  start(host: ScaleHost): void {
    this.#runs += 1;
    const { times, safetyListMs } = this.#settings;
    const run = `run${this.#runs}`;
    const { instance, database } = host;
    const agent = new SimAgent({
      databases: [
        {
          settings: engineSettings({ ...DEFAULTS, database: DATABASE, instance, run }),
          options: databaseOptions(database.file, { name: DATABASE, instance, run }),
        },
      ],
      scheduler: this.scheduler,
      store: this.bucket,
      downloadPlaces: 2,
      makeStore: (owner) => this.#store(owner, () => this.agentTraffic.s3),
      clock: host.clock,
      random: this.#random.fork(),
      databaseMs: times.lmdbHalfMs,
      databaseFails: () => false,
      onLog: () => undefined,
      cleaning: undefined,
      sweeping: undefined,
      observer: {
        stored: ({ sizeBytes }) => {
          this.agentTraffic.uploadedBytes += sizeBytes;
        },
        merged: ({ object, sizeBytes }) => {
          this.agentTraffic.downloadedBytes += sizeBytes;
          this.#noteArrived(host, object.name);
        },
      },
    });
    host.agent = agent;
    host.stopNotices = new AbortController();
    const notices = new QueueNotices({
      queues: this.queues.forAgent(agent),
      queue: { kind: 'url', url: this.queues.queueOf(instance) },
      waitTimeMs: WAIT_TIME_MS,
      safetyIntervalMs: safetyListMs,
      pollIntervalMs: 1000,
      sleep: (ms, signal) => this.scheduler.sleep(ms, agent, signal),
      backoff: backoff({ minMs: 500, maxMs: 20_000, random: this.#random.next }),
      now: () => this.epochMs,
      monotonicMs: () => this.scheduler.nowMs,
      log: SILENT,
    });
    void notices.run((names) => {
      for (const { engine } of agent.engines) {
        if (names === 'list') {
          engine.noteListing();
        } else {
          engine.noteNames(names);
        }
      }
    }, host.stopNotices.signal);
  }

  /** Stops an agent as SIGTERM does; time goes on meanwhile. */
  async stop(host: ScaleHost): Promise<void> {
    const { agent } = host;
    host.agent = undefined;
    host.stopNotices.abort(new Error('stopped'));
    let stopped = false;
    const stopping = agent?.stop().then(() => {
      stopped = true;
    });
    await this.scheduler.until(() => stopped || agent === undefined, 60_000);
    await stopping;
    agent?.requireNoFailure();
  }

  /** The application of a host commits these; undefined: deletes the key. */
  commit(host: ScaleHost, values: ReadonlyMap<string, string | undefined>): void {
    const timestampNs = host.clock.nowNs();
    const registers = new Map<string, Register>();
    for (const [key, text] of values) {
      const value = Buffer.from(text ?? '');
      registers.set(key, { timestampNs, value, deleted: text === undefined });
    }
    host.database.commit(registers);
    this.#commits.set(timestampNs, { host, atMs: this.scheduler.nowMs });
    const { agent } = host;
    this.scheduler.after(this.#settings.times.watchMs * this.#random.next(), () => {
      agent?.find(DATABASE)?.engine.noteChange(host.database.lastTxn);
    });
  }

  /** Time goes on until all databases are equal. */
  async converge(withinMs: number): Promise<void> {
    for (let waitedMs = 0; this.#firstUnequal() !== undefined; waitedMs += LOOK_MS) {
      if (waitedMs > withinMs) {
        throw new Error(`never became equal: ${this.#firstUnequal()}`);
      }
      await this.scheduler.run(LOOK_MS);
    }
  }

  async dispose(): Promise<void> {
    for (const host of this.hosts) {
      host.stopNotices.abort(new Error('disposed'));
      await host.agent?.crash();
      await host.database.close();
    }
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }

  #firstUnequal(): string | undefined {
    const running = this.hosts.filter(({ agent }) => agent !== undefined);
    const [first, ...others] = running;
    if (first === undefined) {
      return undefined;
    }
    const content = first.database.dump();
    for (const { database } of others) {
      const [key] = differences(content, database.dump());
      if (key !== undefined) {
        return `${first.instance} and ${database.label} differ in ${key}`;
      }
    }
    return undefined;
  }

  #noteArrived(host: ScaleHost, name: string): void {
    const { database } = host;
    const arrived = this.#arrived.get(database) ?? new Set();
    this.#arrived.set(database, arrived);
    const times = new Set<bigint>();
    for (const { timestampNs } of this.ledger.objects.get(name)?.content.values() ?? []) {
      times.add(timestampNs);
    }
    for (const timestampNs of times) {
      const commit = this.#commits.get(timestampNs);
      // A host meets its own again in others' full snapshots.
      if (commit === undefined || commit.host === host || arrived.has(timestampNs)) {
        continue;
      }
      arrived.add(timestampNs);
      this.lagsMs.push(this.scheduler.nowMs - commit.atMs);
    }
  }

  #store(owner: { readonly isGone: boolean }, counts: () => Requests): SimStore {
    return new SimStore({
      bucket: this.bucket,
      scheduler: this.scheduler,
      random: this.#random.fork(),
      owner,
      network: {
        faultRate: 0,
        halfMs: this.#settings.times.s3HalfMs,
        slowMs: 0,
        lateMs: 0,
        hurtRate: 0,
      },
      fate: { dropsLate: false, isHealing: true },
      log: () => undefined,
      onRequest: (call) => {
        counts()[call] += 1;
      },
    });
  }

  /** The schedule's compactions, for ever. */
  #compactAgain(): void {
    this.scheduler.after(this.#settings.compactionMs, () => {
      this.compactions += 1;
      this.#compactAgain();
      const { scheduler } = this;
      void compact({
        store: this.#store({ isGone: false }, () => this.compactorTraffic.s3),
        database: DATABASE,
        scratch: new MemoryScratch(),
        policy: DEFAULT_POLICY,
        signal: new AbortController().signal,
        nowNs: () => scheduler.clock.nowNs(),
        monotonicMs: () => scheduler.nowMs,
        deadlineMs: undefined,
        random: this.#random.fork().bytes,
        writer: 'simulation',
      });
    });
  }
}

function noTraffic(): Traffic {
  const s3 = { list: 0, get: 0, create: 0, put: 0, putIfUnchanged: 0, delete: 0 };
  return { s3, uploadedBytes: 0, downloadedBytes: 0 };
}

function noop(): void {}

const SILENT: Logger = {
  debug: noop,
  info: noop,
  warn: noop,
  error: noop,
  child: () => SILENT,
};
