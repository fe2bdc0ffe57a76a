import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentProcess, folderStorage, type AgentOptions } from '../../demo/agent-process.ts';
import { Application } from '../../demo/application.ts';

/** A folder with a bucket, LMDBs, applications and agents; `close` ends and removes all of it. */
export class Fleet {
  readonly folder: string;
  readonly #agents = new Set<AgentProcess>();
  readonly #applications = new Map<string, Application>();
  readonly #children = new Set<ChildProcess>();

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(): Promise<Fleet> {
    return new Fleet(await mkdtemp(join(tmpdir(), 'lightningstream-test-')));
  }

  get bucket(): string {
    return join(this.folder, 'bucket');
  }

  lmdbFile(host: string, database = 'main'): string {
    return join(this.folder, `${host}-${database}.lmdb`);
  }

  /** The application on a host; opened once. */
  application(host: string, database = 'main'): Application {
    const file = this.lmdbFile(host, database);
    const known = this.#applications.get(file);
    if (known !== undefined) {
      return known;
    }
    const opened = Application.open(file, { noSync: true });
    this.#applications.set(file, opened);
    return opened;
  }

  /** Ends the application on a host; {@link application} starts it again. */
  stopApplication(host: string, database = 'main'): void {
    const file = this.lmdbFile(host, database);
    this.#applications.get(file)?.[Symbol.dispose]();
    this.#applications.delete(file);
  }

  /** Removes a host's LMDB, as a new disk does; its agent and whatever else has it open must be gone. */
  async forget(host: string, database = 'main'): Promise<void> {
    const file = this.lmdbFile(host, database);
    this.stopApplication(host, database);
    await rm(file, { force: true });
    await rm(`${file}-lock`, { force: true });
  }

  /** Starts the agent of a host. The applications come first, so that both find the same map size. */
  async startAgent(host: string, options: Partial<AgentOptions> = {}): Promise<AgentProcess> {
    const agent = await AgentProcess.start({
      name: host,
      folder: this.folder,
      databases: { main: this.lmdbFile(host) },
      storage: folderStorage(this.bucket),
      ...options,
    });
    this.#agents.add(agent);
    return agent;
  }

  /** The same as {@link spawnChild}, past its first line. */
  async startChild(program: string, ...args: readonly string[]): Promise<ChildProcess> {
    const child = this.spawnChild(program, ...args);
    await once(child.stdout as NodeJS.ReadableStream, 'data');
    return child;
  }

  /** A TypeScript program of test/support/children as a process of its own. */
  spawnChild(program: string, ...args: readonly string[]): ChildProcess {
    const script = join(__dirname, 'children', program);
    const child = spawn(process.execPath, ['--import', 'tsx', script, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  async close(): Promise<void> {
    for (const child of this.#children) {
      child.kill('SIGKILL');
    }
    await Promise.all([...this.#agents].map((agent) => agent.stop('SIGKILL')));
    for (const application of this.#applications.values()) {
      application[Symbol.dispose]();
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Ends a child by SIGTERM and resolves with what it printed since its first line. */
export async function finish(child: ChildProcess): Promise<string> {
  let text = '';
  child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  await closed;
  return text;
}

/** All entries of an LMDB as a plain object, tombstones as null: equal objects are converged hosts. */
export function contents(application: Application): Record<string, string | null> {
  return Object.fromEntries(
    Array.from(application.entries(), ({ key, value, deleted }) => [key, deleted ? null : value]),
  );
}

/** Polls until the condition holds; rejects with `what` and the agents' logs where it does not in time. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  options: { readonly what: string; readonly agents: readonly AgentProcess[]; timeoutMs?: number },
): Promise<void> {
  const end = performance.now() + (options.timeoutMs ?? 15_000);
  while (!(await condition())) {
    if (performance.now() > end) {
      const logs = await Promise.all(
        options.agents.map(async (agent) => `--- ${agent.name}\n${await agent.log()}`),
      );
      throw new Error([`never happened: ${options.what}`, ...logs].join('\n'));
    }
    await sleep(5);
  }
}
