import { join } from 'node:path';
import { AgentProcess, folderStorage, type AgentOptions, type Traffic } from './agent-process.ts';
import { Application, wallClockNs } from './application.ts';
import { waitUntil } from './wait.ts';

/** What one step of the demo did. */
export type StepResult = {
  readonly step: string;
  readonly happened: string;
  /** From the return of the commit on one host until the last other host shows it. */
  readonly latencyMs: number;
  readonly traffic: Traffic;
};

/** A host of the demo: an application with its LMDB, and the agent beside it. */
export type Host = {
  readonly name: string;
  readonly lmdbFile: string;
  readonly application: Application;
  readonly agent: AgentProcess;
};

/** Where the agents of a scenario meet. */
export type Surroundings = {
  /** What an agent is started with beside its name and its LMDB. */
  readonly agentOptions: (name: string) => Pick<AgentOptions, 'storage' | 'settings' | 'env'>;
  /** How long anything may take to arrive. */
  readonly timeoutMs: number;
};

/** A folder that stands for the bucket. */
function folderSurroundings(folder: string): Surroundings {
  const storage = folderStorage(join(folder, 'bucket'));
  return { agentOptions: () => ({ storage }), timeoutMs: 5000 };
}

const BULK_RECORDS = 1000;

/** The hosts of a demo and the steps it goes through, all in one folder. */
export class Scenario {
  readonly hosts: Host[] = [];
  readonly #folder: string;
  readonly #surroundings: Surroundings;
  readonly #report: (result: StepResult) => void;

  constructor(
    folder: string,
    report: (result: StepResult) => void,
    surroundings: Surroundings = folderSurroundings(folder),
  ) {
    this.#folder = folder;
    this.#report = report;
    this.#surroundings = surroundings;
  }

  /** Goes through all steps; rejects where something did not arrive in time. */
  async run(): Promise<void> {
    const a = await this.startHost('a');
    const b = await this.startHost('b');
    await Promise.all([a.agent.ready(), b.agent.ready()]);
    await this.#writeInA(a, b);
    await this.#writeInB(a, b);
    await this.#bulk(a, b);
    await this.#conflict(a, b);
    await this.#delete(a, b);
    await this.hostJoins('c');
    await this.everybodySeesAWrite();
  }

  async stop(): Promise<void> {
    await Promise.all(this.hosts.map(({ agent }) => agent.stop()));
    for (const { application } of this.hosts) {
      application[Symbol.dispose]();
    }
  }

  protected async startHost(name: string): Promise<Host> {
    const lmdbFile = join(this.#folder, `${name}.lmdb`);
    const application = Application.open(lmdbFile);
    const agent = await AgentProcess.start({
      name,
      folder: this.#folder,
      databases: { main: lmdbFile },
      ...this.#surroundings.agentOptions(name),
    });
    const host = { name, lmdbFile, application, agent };
    this.hosts.push(host);
    return host;
  }

  async #writeInA(a: Host, b: Host): Promise<void> {
    await this.step('write in A', async () => {
      a.application.write([{ key: 'www.example.org', value: '192.0.2.1' }]);
      const latencyMs = await this.arrival(b, 'www.example.org', '192.0.2.1');
      return { latencyMs, happened: 'www.example.org = 192.0.2.1 is in B' };
    });
  }

  async #writeInB(a: Host, b: Host): Promise<void> {
    await this.step('write in B', async () => {
      b.application.write([{ key: 'mail.example.org', value: '192.0.2.25' }]);
      const latencyMs = await this.arrival(a, 'mail.example.org', '192.0.2.25');
      return { latencyMs, happened: 'mail.example.org = 192.0.2.25 is in A' };
    });
  }

  async #bulk(a: Host, b: Host): Promise<void> {
    await this.step('bulk in A', async () => {
      const writes = Array.from({ length: BULK_RECORDS }, (_, i) => ({
        key: `host-${String(i).padStart(4, '0')}.example.org`,
        value: `198.51.100.${i % 256}`,
      }));
      a.application.write(writes);
      const expected = a.application.count();
      const latencyMs = await waitUntil(() => b.application.count() === expected, {
        timeoutMs: this.timeoutMs,
        what: 'the bulk in B',
      });
      return { latencyMs, happened: `${BULK_RECORDS} records of one transaction are in B` };
    });
  }

  async #conflict(a: Host, b: Host): Promise<void> {
    await this.step('conflict', async () => {
      // B's clock stands earlier, so A's value is the later one, whatever arrives first where.
      const earlierNs = wallClockNs();
      a.application.write([{ key: 'www.example.org', value: '192.0.2.77 (from A)' }]);
      b.application.write([{ key: 'www.example.org', value: '192.0.2.88 (from B)' }], {
        timestampNs: earlierNs,
      });
      const latencyMs = await this.arrival(b, 'www.example.org', '192.0.2.77 (from A)');
      await this.arrival(a, 'www.example.org', '192.0.2.77 (from A)');
      return {
        latencyMs,
        happened: 'both wrote www.example.org at once: the later, of A, is in both',
      };
    });
  }

  async #delete(a: Host, b: Host): Promise<void> {
    await this.step('delete in B', async () => {
      b.application.write([{ key: 'mail.example.org', value: undefined }]);
      const latencyMs = await waitUntil(
        () => a.application.read('mail.example.org')?.deleted === true,
        { timeoutMs: this.timeoutMs, what: 'the delete in A' },
      );
      return { latencyMs, happened: 'mail.example.org is gone in A' };
    });
  }

  /** A host with an empty LMDB gets everything that there is. */
  protected async hostJoins(name: string): Promise<void> {
    await this.step(`${name.toUpperCase()} joins`, async () => {
      const started = performance.now();
      const c = await this.startHost(name);
      const expected = fingerprint(this.hosts[0] as Host);
      await waitUntil(() => fingerprint(c) === expected, {
        timeoutMs: this.timeoutMs,
        what: `the whole state in ${name.toUpperCase()}`,
      });
      const latencyMs = performance.now() - started;
      await c.agent.ready();
      return {
        latencyMs,
        happened: `an empty LMDB has all ${c.application.count()} entries, process start included`,
      };
    });
  }

  /** The newest host writes. */
  protected async everybodySeesAWrite(): Promise<void> {
    const newest = this.hosts.at(-1) as Host;
    const others = this.hosts.slice(0, -1);
    const key = `ftp-${newest.name}.example.org`;
    await this.step(`write in ${newest.name.toUpperCase()}`, async () => {
      newest.application.write([{ key, value: '192.0.2.21' }]);
      const latencies = await Promise.all(
        others.map((host) => this.arrival(host, key, '192.0.2.21')),
      );
      const names = others.map(({ name }) => name.toUpperCase()).join(' and ');
      return { latencyMs: Math.max(...latencies), happened: `${key} is in ${names}` };
    });
  }

  /** Runs one step and reports it with what the agents asked of the storage meanwhile. */
  protected async step(
    step: string,
    act: () => Promise<{ latencyMs: number; happened: string }>,
  ): Promise<void> {
    const before = await this.#traffic();
    const { latencyMs, happened } = await act();
    const after = await this.#traffic();
    const traffic = Object.fromEntries(
      TRAFFIC_KEYS.map((key) => [key, after[key] - before[key]]),
    ) as Traffic;
    this.#report({ step, happened, latencyMs, traffic });
  }

  /** Waits until a host shows the value; resolves with the time that took. */
  protected arrival(host: Host, key: string, value: string): Promise<number> {
    return waitUntil(() => host.application.read(key)?.value === value, {
      timeoutMs: this.timeoutMs,
      what: `${key} = ${value} in ${host.name.toUpperCase()}`,
    });
  }

  protected get timeoutMs(): number {
    return this.#surroundings.timeoutMs;
  }

  async #traffic(): Promise<Traffic> {
    const all = await Promise.all(this.hosts.map(({ agent }) => agent.traffic()));
    return Object.fromEntries(
      TRAFFIC_KEYS.map((key) => [key, all.reduce((sum, one) => sum + one[key], 0)]),
    ) as Traffic;
  }
}

const TRAFFIC_KEYS = ['stores', 'loads', 'lists', 'bytesUp', 'bytesDown', 'queueRequests'] as const;

/** Equal where two hosts hold the same entries: key, time, deleted flag and value. */
function fingerprint({ application }: Host): string {
  return Array.from(
    application.entries(),
    ({ key, timestampNs, deleted, value }) => `${key} ${timestampNs} ${deleted} ${value}`,
  ).join('\n');
}
