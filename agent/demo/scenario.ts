import { join } from 'node:path';
import { AgentProcess, folderStorage, type Traffic } from './agent-process.ts';
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

const ARRIVAL_TIMEOUT_MS = 5000;
const BULK_RECORDS = 1000;

/** The hosts of a demo and the steps it goes through, all in one folder. */
export class Scenario {
  readonly hosts: Host[] = [];
  readonly #folder: string;
  readonly #report: (result: StepResult) => void;

  constructor(folder: string, report: (result: StepResult) => void) {
    this.#folder = folder;
    this.#report = report;
  }

  /** Goes through all steps; rejects where something did not arrive in time. */
  async run(): Promise<void> {
    const a = await this.#startHost('a');
    const b = await this.#startHost('b');
    await Promise.all([a.agent.ready(), b.agent.ready()]);
    await this.#writeInA(a, b);
    await this.#writeInB(a, b);
    await this.#bulk(a, b);
    await this.#conflict(a, b);
    await this.#delete(a, b);
    await this.#thirdHostJoins();
    await this.#everybodySeesAWrite();
  }

  async stop(): Promise<void> {
    await Promise.all(this.hosts.map(({ agent }) => agent.stop()));
    for (const { application } of this.hosts) {
      application[Symbol.dispose]();
    }
  }

  async #startHost(name: string): Promise<Host> {
    const lmdbFile = join(this.#folder, `${name}.lmdb`);
    const application = Application.open(lmdbFile);
    const agent = await AgentProcess.start({
      name,
      folder: this.#folder,
      databases: { main: lmdbFile },
      storage: folderStorage(join(this.#folder, 'bucket')),
    });
    const host = { name, lmdbFile, application, agent };
    this.hosts.push(host);
    return host;
  }

  async #writeInA(a: Host, b: Host): Promise<void> {
    await this.#step('write in A', async () => {
      a.application.write([{ key: 'www.example.org', value: '192.0.2.1' }]);
      const latencyMs = await arrival(b, 'www.example.org', '192.0.2.1');
      return { latencyMs, happened: 'www.example.org = 192.0.2.1 is in B' };
    });
  }

  async #writeInB(a: Host, b: Host): Promise<void> {
    await this.#step('write in B', async () => {
      b.application.write([{ key: 'mail.example.org', value: '192.0.2.25' }]);
      const latencyMs = await arrival(a, 'mail.example.org', '192.0.2.25');
      return { latencyMs, happened: 'mail.example.org = 192.0.2.25 is in A' };
    });
  }

  async #bulk(a: Host, b: Host): Promise<void> {
    await this.#step('bulk in A', async () => {
      const writes = Array.from({ length: BULK_RECORDS }, (_, i) => ({
        key: `host-${String(i).padStart(4, '0')}.example.org`,
        value: `198.51.100.${i % 256}`,
      }));
      a.application.write(writes);
      const expected = a.application.count();
      const latencyMs = await waitUntil(() => b.application.count() === expected, {
        timeoutMs: ARRIVAL_TIMEOUT_MS,
        what: 'the bulk in B',
      });
      return { latencyMs, happened: `${BULK_RECORDS} records of one transaction are in B` };
    });
  }

  async #conflict(a: Host, b: Host): Promise<void> {
    await this.#step('conflict', async () => {
      // B's clock stands earlier, so A's value is the later one, whatever arrives first where.
      const earlierNs = wallClockNs();
      a.application.write([{ key: 'www.example.org', value: '192.0.2.77 (from A)' }]);
      b.application.write([{ key: 'www.example.org', value: '192.0.2.88 (from B)' }], {
        timestampNs: earlierNs,
      });
      const latencyMs = await arrival(b, 'www.example.org', '192.0.2.77 (from A)');
      await arrival(a, 'www.example.org', '192.0.2.77 (from A)');
      return {
        latencyMs,
        happened: 'both wrote www.example.org at once: the later, of A, is in both',
      };
    });
  }

  async #delete(a: Host, b: Host): Promise<void> {
    await this.#step('delete in B', async () => {
      b.application.write([{ key: 'mail.example.org', value: undefined }]);
      const latencyMs = await waitUntil(
        () => a.application.read('mail.example.org')?.deleted === true,
        { timeoutMs: ARRIVAL_TIMEOUT_MS, what: 'the delete in A' },
      );
      return { latencyMs, happened: 'mail.example.org is gone in A' };
    });
  }

  async #thirdHostJoins(): Promise<void> {
    await this.#step('C joins', async () => {
      const started = performance.now();
      const c = await this.#startHost('c');
      const expected = fingerprint(this.hosts[0] as Host);
      await waitUntil(() => fingerprint(c) === expected, {
        timeoutMs: ARRIVAL_TIMEOUT_MS,
        what: 'the whole state in C',
      });
      const latencyMs = performance.now() - started;
      await c.agent.ready();
      return {
        latencyMs,
        happened: `an empty LMDB has all ${c.application.count()} entries, process start included`,
      };
    });
  }

  async #everybodySeesAWrite(): Promise<void> {
    const [a, b, c] = this.hosts as [Host, Host, Host];
    await this.#step('write in C', async () => {
      c.application.write([{ key: 'ftp.example.org', value: '192.0.2.21' }]);
      const latencies = await Promise.all([
        arrival(a, 'ftp.example.org', '192.0.2.21'),
        arrival(b, 'ftp.example.org', '192.0.2.21'),
      ]);
      return { latencyMs: Math.max(...latencies), happened: 'ftp.example.org is in A and B' };
    });
  }

  async #step(
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

  async #traffic(): Promise<Traffic> {
    const all = await Promise.all(this.hosts.map(({ agent }) => agent.traffic()));
    return Object.fromEntries(
      TRAFFIC_KEYS.map((key) => [key, all.reduce((sum, one) => sum + one[key], 0)]),
    ) as Traffic;
  }
}

const TRAFFIC_KEYS = ['stores', 'loads', 'lists', 'bytesUp', 'bytesDown'] as const;

function arrival(host: Host, key: string, value: string): Promise<number> {
  return waitUntil(() => host.application.read(key)?.value === value, {
    timeoutMs: ARRIVAL_TIMEOUT_MS,
    what: `${key} = ${value} in ${host.name.toUpperCase()}`,
  });
}

/** Equal where two hosts hold the same entries: key, time, deleted flag and value. */
function fingerprint({ application }: Host): string {
  return Array.from(
    application.entries(),
    ({ key, timestampNs, deleted, value }) => `${key} ${timestampNs} ${deleted} ${value}`,
  ).join('\n');
}
