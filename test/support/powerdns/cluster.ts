import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { AgentProcess } from '../../../demo/agent-process.ts';
import { eventually } from '../hosts.ts';
import { reportFigure } from '../figures.ts';
import type { MiniStack } from '../aws/ministack.ts';
import { NoticeBucket } from '../aws/notice-bucket.ts';
import { TcpProxy } from '../servers/tcp-proxy.ts';
import { PowerDns } from './power-dns.ts';
import { checkZone, type ExpectedZone } from './zone-check.ts';

export type ClusterOptions = {
  /** Where PowerDNS is installed. */
  readonly root: string;
  readonly server: MiniStack;
  /** Of the hosts. */
  readonly names: readonly string[];
  /** Lines of pdns.conf. */
  readonly powerDns: Readonly<Record<string, string | number>>;
  /** Keys of each database besides its path and options. */
  readonly databases: Readonly<Record<'main' | 'shard', string>>;
  /** More top-level keys of an agent's configuration, as YAML. */
  readonly agentSettings?: ((powerDns: PowerDns) => string) | undefined;
  /** Headers of registers are in all DBIs (native schema) or in the agent's own. */
  readonly headers: 'all' | 'shadow';
};

/** PowerDNS, the agent beside it, and the agent's line to S3 and SQS. */
export type ClusterHost = {
  readonly name: string;
  readonly powerDns: PowerDns;
  agent: AgentProcess;
  readonly line: TcpProxy;
};

/** Settings of PowerDNS without caches: what is answered is what is in the LMDB. */
export const UNCACHED = {
  'zone-cache-refresh-interval': 0,
  'zone-metadata-cache-ttl': 0,
  'dnssec-key-cache-ttl': 0,
  'cache-ttl': 0,
  'query-cache-ttl': 0,
  'negquery-cache-ttl': 0,
};

const MAP_MB = 64;
/** Nothing is found by listing within a test, but at a start and where a notice got lost. */
const INTERVALS = 'storage_poll_interval: 1s\nstorage_safety_list_interval: 10s\n';

/** Hosts with PowerDNS and agents that share a bucket, told of each other's objects by queues. */
export class Cluster {
  readonly bucket: NoticeBucket;
  /** By name. */
  readonly hosts: ClusterHost[] = [];
  readonly #options: ClusterOptions;
  readonly #folder: string;

  private constructor(options: ClusterOptions, parts: { folder: string; bucket: NoticeBucket }) {
    this.#options = options;
    this.#folder = parts.folder;
    this.bucket = parts.bucket;
  }

  /** Starts the hosts beside each other; resolves when all have synced. Their queues are made first, as by a deployed stack. */
  static async open(options: ClusterOptions): Promise<Cluster> {
    const parent = join(options.root, 'srv');
    await mkdir(parent, { recursive: true });
    const folder = await mkdtemp(join(parent, 'lightningstream-'));
    const bucket = await NoticeBucket.open(
      options.server,
      basename(folder).toLowerCase().replaceAll('_', '-'),
    );
    await bucket.notifyOfObjects();
    await Promise.all(options.names.map((name) => bucket.createQueueOf(name)));
    bucket.startFanOut();
    const cluster = new Cluster(options, { folder, bucket });
    try {
      await Promise.all(options.names.map((name) => cluster.#add(name)));
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  /** Asks every host about every zone; rejects with what is wrong, and where. */
  async checkZones(zones: readonly ExpectedZone[]): Promise<void> {
    for (const host of this.hosts) {
      for (const zone of zones) {
        await checkZone(host.powerDns, zone).catch((cause: unknown) => {
          throw new Error(`${host.name}: ${String(cause)}`, { cause });
        });
      }
    }
  }

  /** Starts PowerDNS, then its agent, and waits until that has synced. */
  async #add(name: string): Promise<void> {
    const { root, server, powerDns: settings } = this.#options;
    const folder = join(this.#folder, name);
    await mkdir(folder);
    const powerDns = await PowerDns.start({
      root,
      folder: folder.slice(root.length),
      settings: { 'lmdb-map-size': MAP_MB, ...settings },
    });
    const line = await TcpProxy.open(server.port);
    const agent = await this.#startAgent({ name, powerDns, line });
    const host = { name, powerDns, line, agent };
    this.hosts.push(host);
    this.hosts.sort((one, other) => one.name.localeCompare(other.name));
    await agent.ready();
  }

  async startAgent(host: ClusterHost): Promise<void> {
    host.agent = await this.#startAgent(host);
  }

  /** Ends PowerDNS and agent as a power cut would. */
  async kill(host: ClusterHost): Promise<void> {
    await Promise.all([host.agent.stop('SIGKILL'), host.powerDns.stop('SIGKILL')]);
  }

  async wipe(host: ClusterHost): Promise<void> {
    for (const file of [host.powerDns.mainFile, host.powerDns.shardFile]) {
      await rm(file, { force: true });
      await rm(`${file}-lock`, { force: true });
    }
  }

  /** Resolves when all LMDBs hold the same entries, deletions and times included; rejects with the differences. */
  async converged(hosts: readonly ClusterHost[] = this.hosts, timeoutMs = 30_000): Promise<void> {
    let difference = '';
    const areEqual = async () => {
      const { headers } = this.#options;
      const dumps = await Promise.all(hosts.map(({ powerDns }) => powerDns.dump({ headers })));
      difference = hosts.map(({ name }, at) => differenceOf(name, dumps, at)).join('\n');
      return difference.trim() === '';
    };
    await this.eventually(areEqual, 'equal LMDBs', timeoutMs).catch((error: unknown) => {
      throw new Error(`the LMDBs differ:\n${difference}`, { cause: error });
    });
  }

  eventually(
    condition: () => boolean | Promise<boolean>,
    what: string,
    timeoutMs = 30_000,
  ): Promise<void> {
    const agents = this.hosts.map(({ agent }) => agent);
    return eventually(condition, { what, agents, timeoutMs });
  }

  async close(): Promise<void> {
    for (const host of this.hosts) {
      await this.kill(host);
      await host.line.close();
    }
    await this.bucket.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  #startAgent(host: Pick<ClusterHost, 'name' | 'powerDns' | 'line'>): Promise<AgentProcess> {
    const { databases, agentSettings } = this.#options;
    const { name, powerDns, line } = host;
    const endpoint = `http://127.0.0.1:${line.port}`;
    return AgentProcess.start({
      name,
      folder: powerDns.folder,
      databases: { main: powerDns.mainFile, shard: powerDns.shardFile },
      databaseSettings: databases,
      mapSize: `${MAP_MB}MB`,
      storage: this.bucket.storage(endpoint),
      settings: INTERVALS + (agentSettings?.(powerDns) ?? '') + this.bucket.notices(endpoint),
    });
  }
}

/** Lines that this dump has and the first does not, and the other way round: a few of them. */
function differenceOf(name: string, dumps: readonly string[][], at: number): string {
  const [first = [], own = []] = [dumps[0], dumps[at]];
  const firstSet = new Set(first);
  const ownSet = new Set(own);
  const more = own.filter((line) => !firstSet.has(line)).map((line) => `${name} + ${line}`);
  const fewer = first.filter((line) => !ownSet.has(line)).map((line) => `${name} - ${line}`);
  return [...more.slice(0, 10), ...fewer.slice(0, 10)].join('\n');
}

/** Prints how long the runs of `pdnsutil` on these hosts took, as a figure. */
export function reportCommandTimes(what: string, hosts: readonly ClusterHost[]): void {
  const times = hosts
    .flatMap(({ powerDns: { commandTimes } }) => commandTimes)
    .toSorted((x, y) => x.ms - y.ms);
  const [median, longest] = [times[times.length >> 1], times.at(-1)];
  reportFigure(
    `${what}: ${times.length} runs of pdnsutil, median ${median?.ms.toFixed(0)} ms, longest ${longest?.ms.toFixed(0)} ms (${longest?.command})`,
  );
}
