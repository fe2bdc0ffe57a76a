import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './free-port.ts';

export type AgentOptions = {
  readonly name: string;
  /** Configuration and log go here: NAME.yaml, NAME.log. */
  readonly folder: string;
  /** Database name to LMDB file. */
  readonly databases: Readonly<Record<string, string>>;
  /** The `storage:` section without its first line, indented by two spaces. */
  readonly storage: string;
  /** More top-level keys, as YAML. */
  readonly settings?: string | undefined;
  readonly mapSize?: string | undefined;
  /** Keys besides path and options, of every database or by its name; unless given, those of the native schema. */
  readonly databaseSettings?: string | Readonly<Record<string, string>> | undefined;
  /** The program and its first arguments; unless given, the bundle under this Node. */
  readonly command?: readonly string[] | undefined;
  /** Arguments instead of `sync`. */
  readonly verb?: readonly string[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Of its status server; unless given, a free one. */
  readonly port?: number | undefined;
};

/** The part of `storage:` that makes a folder the object store. */
export function folderStorage(path: string): string {
  return `  type: fs\n  options:\n    root_path: ${JSON.stringify(path)}\n`;
}

/** Requests and bytes of an agent since its start, by the counters of its `/metrics`. */
export type Traffic = {
  readonly stores: number;
  readonly loads: number;
  readonly lists: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Requests to SQS. */
  readonly queueRequests: number;
};

/** One agent as a process of its own: the bundle, as an operator runs it. */
export class AgentProcess {
  readonly name: string;
  readonly url: string;
  readonly configFile: string;
  readonly logFile: string;
  readonly child: ChildProcess;

  private constructor(child: ChildProcess, facts: AgentFacts) {
    this.child = child;
    this.name = facts.name;
    this.configFile = facts.configFile;
    this.logFile = facts.logFile;
    this.url = `http://127.0.0.1:${facts.port}`;
  }

  /** Starts the process; it may not be ready yet. */
  static async start(options: AgentOptions): Promise<AgentProcess> {
    const port = options.port ?? (await freePort());
    const configFile = join(options.folder, `${options.name}.yaml`);
    const logFile = join(options.folder, `${options.name}.log`);
    await writeFile(configFile, configText(options, port));
    const [program, ...first] = options.command ?? [process.execPath, BUNDLE];
    const verb = options.verb ?? ['sync'];
    const child = spawn(program as string, [...first, '--config', configFile, ...verb], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...options.env },
    });
    child.stderr?.pipe(createWriteStream(logFile, { flags: 'a' }));
    const agent = new AgentProcess(child, { name: options.name, port, configFile, logFile });
    await new Promise((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    return agent;
  }

  get pid(): number {
    return this.child.pid as number;
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Resolves once start-up is over: listed, merged, first upload done. Rejects where the process ends or time runs out. */
  async ready(timeoutMs = 20_000): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (performance.now() < end) {
      if (!this.running) {
        throw new Error(`agent ${this.name} ended at its start:\n${await this.log()}`);
      }
      if (
        await this.#get('/healthz')
          .then(isStarted)
          .catch(() => false)
      ) {
        return;
      }
      await sleep(20);
    }
    throw new Error(`agent ${this.name} was not ready in ${timeoutMs} ms:\n${await this.log()}`);
  }

  async health(): Promise<{ readonly [key: string]: unknown }> {
    return JSON.parse(await this.#get('/healthz')) as { [key: string]: unknown };
  }

  /** Samples of `/metrics` by name, summed over their labels. */
  async metrics(): Promise<Map<string, number>> {
    const sums = new Map<string, number>();
    for (const line of (await this.#get('/metrics')).split('\n')) {
      const match = /^([a-z_]+)(?:\{.*\})? (\S+)/.exec(line);
      if (match?.[1] !== undefined) {
        sums.set(match[1], (sums.get(match[1]) ?? 0) + Number(match[2]));
      }
    }
    return sums;
  }

  async traffic(): Promise<Traffic> {
    const metrics = await this.metrics();
    const of = (name: string): number =>
      metrics.get(`lightningstream_syncer_snapshots_${name}`) ?? 0;
    return {
      stores: of('store_calls_total'),
      loads: of('load_calls_total'),
      lists: of('list_calls_total'),
      bytesUp: of('store_bytes_total'),
      bytesDown: of('load_bytes_total'),
      queueRequests: metrics.get('lightningstream_sqs_requests_total') ?? 0,
    };
  }

  /** Resolves with the exit code when it ends by itself; rejects where it does not in time. */
  async ended(timeoutMs: number): Promise<number | NodeJS.Signals> {
    if (this.running) {
      await once(this.child, 'exit', { signal: AbortSignal.timeout(timeoutMs) });
    }
    return this.child.exitCode ?? (this.child.signalCode as NodeJS.Signals);
  }

  /** Sends the signal and resolves with how the process ended: an exit code, or the signal's name. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals> {
    if (this.running) {
      const ended = once(this.child, 'exit');
      this.child.kill(signal);
      await ended;
    }
    return this.child.exitCode ?? (this.child.signalCode as NodeJS.Signals);
  }

  async log(): Promise<string> {
    const text = await readFile(this.logFile, 'utf8').catch(() => '');
    return text.split('\n').slice(-LOG_LINES).join('\n');
  }

  async #get(path: string): Promise<string> {
    const response = await fetch(this.url + path, { signal: AbortSignal.timeout(10_000) });
    return response.text();
  }
}

type AgentFacts = {
  readonly name: string;
  readonly port: number;
  readonly configFile: string;
  readonly logFile: string;
};

const LOG_LINES = 60;
const NATIVE_SCHEMA = 'schema_tracks_changes: true';
// From the root, where npm runs every script of this project.
const BUNDLE = join(process.cwd(), 'dist/lightningstream.cjs');

function configText(options: AgentOptions, port: number): string {
  const { databaseSettings = NATIVE_SCHEMA } = options;
  const settingsOf = (name: string) =>
    typeof databaseSettings === 'string'
      ? databaseSettings
      : (databaseSettings[name] ?? NATIVE_SCHEMA);
  const databases = Object.entries(options.databases).map(
    ([name, path]) => `  ${name}:
    path: ${JSON.stringify(path)}
    ${settingsOf(name)}
    options:
      no_subdir: true
      create: true
      map_size: ${options.mapSize ?? '256MB'}
`,
  );
  return `instance: ${options.name}
lmdbs:
${databases.join('')}storage:
${options.storage}http:
  address: 127.0.0.1:${port}
${options.settings ?? ''}`;
}

function isStarted(health: string): boolean {
  const { metadata = {} } = JSON.parse(health) as { metadata?: Record<string, unknown> };
  const states = Object.entries(metadata).filter(([key]) => key.startsWith('startup_'));
  return states.length > 0 && states.every(([, started]) => started === true);
}
