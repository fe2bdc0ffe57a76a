import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentProcess, folderStorage, type AgentOptions } from '../../demo/agent-process.ts';
import { Application, type Write } from '../../demo/application.ts';

const BYTES_PER_RECORD = 400;
const SMALLEST_MAP_BYTES = 256 * 1024 * 1024;
const MIB = 1024 * 1024;
const STAMP_NS = 1_700_000_000_000_000_000n;

/** One folder of a benchmark: LMDBs filled alike, agents beside them, a bucket. */
export class BenchHosts {
  readonly folder: string;
  readonly records: number;
  readonly #agents: AgentProcess[] = [];
  readonly #applications: Application[] = [];
  #buckets = 0;

  private constructor(folder: string, records: number) {
    this.folder = folder;
    this.records = records;
  }

  /** Makes an LMDB of so many records (44 bytes each, 20 of them the application's), to be copied to hosts. */
  static async open(records: number): Promise<BenchHosts> {
    const folder = await mkdtemp(join(tmpdir(), 'lightningstream-bench-'));
    const hosts = new BenchHosts(folder, records);
    const application = Application.open(join(folder, 'filled.lmdb'), {
      mapSizeBytes: hosts.#mapBytes,
      noSync: true,
    });
    application.write(manyRecords(records), { timestampNs: STAMP_NS });
    application[Symbol.dispose]();
    return hosts;
  }

  /** A host's application, on a copy of the filled LMDB or on an empty one. */
  async application(host: string, content: 'filled' | 'empty'): Promise<Application> {
    const file = this.lmdbFile(host);
    await rm(file, { force: true });
    await rm(`${file}-lock`, { force: true });
    if (content === 'filled') {
      await copyFile(join(this.folder, 'filled.lmdb'), file);
    }
    const application = Application.open(file, { mapSizeBytes: this.#mapBytes });
    this.#applications.push(application);
    return application;
  }

  lmdbFile(host: string): string {
    return join(this.folder, `${host}.lmdb`);
  }

  /** A name for a bucket that nobody used yet. */
  freshBucket(): string {
    return join(this.folder, `bucket-${this.#buckets++}`);
  }

  /** Starts an agent; `peer` is upstream's binary, undefined the bundle. */
  async start(host: string, options: StartOptions): Promise<AgentProcess> {
    const { peer, bucket, ...rest } = options;
    const agent = await AgentProcess.start({
      name: host,
      folder: this.folder,
      databases: { main: this.lmdbFile(host) },
      storage: folderStorage(bucket ?? this.freshBucket()),
      mapSize: `${this.#mapBytes / MIB}MB`,
      command: peer === undefined ? undefined : [peer],
      ...rest,
    });
    this.#agents.push(agent);
    return agent;
  }

  /** Ends the agents and forgets the applications; the filled LMDB stays. */
  async clear(): Promise<void> {
    await Promise.all(this.#agents.splice(0).map((agent) => agent.stop('SIGKILL')));
    for (const application of this.#applications.splice(0)) {
      application[Symbol.dispose]();
    }
  }

  async close(): Promise<void> {
    await this.clear();
    await rm(this.folder, { recursive: true, force: true });
  }

  get #mapBytes(): number {
    const wanted = Math.max(SMALLEST_MAP_BYTES, this.records * BYTES_PER_RECORD);
    return Math.ceil(wanted / MIB) * MIB;
  }
}

export type StartOptions = Partial<AgentOptions> & {
  readonly peer?: string | undefined;
  readonly bucket?: string | undefined;
};

/** Record names as a hosting provider has them: scattered over the tree, 20 bytes of value each. */
function* manyRecords(count: number): Generator<Write> {
  for (let i = 0; i < count; i++) {
    yield { key: recordKey(i), value: recordValue(i, 0) };
  }
}

export function recordKey(index: number): string {
  const scattered = Math.imul(index, 2_654_435_761) >>> 0;
  return `host-${scattered.toString(36).padStart(7, '0')}`;
}

/** 20 bytes that differ in every version. */
export function recordValue(index: number, version: number): string {
  return `${index.toString(36).padStart(10, '0')}${version.toString(36).padStart(10, '0')}`;
}
