import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentProcess, folderStorage } from '../demo/agent-process.ts';
import { Application } from '../demo/application.ts';
import { waitUntil } from '../demo/wait.ts';
import { ProcessMeter } from './support/process-meter.ts';
import type { Row } from './support/row.ts';
import { quantile } from './support/statistics.ts';

const DATABASES = 64;
const RECORDS = 1000;
const CHANGES = 128;
const TIMEOUT_MS = 120_000;

/** Two agents with 64 databases each: their start, their memory, and a change in one database after the other. */
export async function run(): Promise<Row[]> {
  const folder = await mkdtemp(join(tmpdir(), 'lightningstream-databases-'));
  const open = (host: string) =>
    Array.from({ length: DATABASES }, (_, i) =>
      Application.open(join(folder, `${host}-${i}.lmdb`), { noSync: true }),
    );
  const applications = { a: open('a'), b: open('b') };
  const agents: AgentProcess[] = [];
  try {
    for (const application of applications.a) {
      application.write(
        Array.from({ length: RECORDS }, (_, i) => ({ key: `record-${i}`, value: `value ${i}` })),
      );
    }
    const startMs = performance.now();
    for (const name of ['a', 'b']) {
      agents.push(await start(folder, name));
    }
    const [a, b] = agents as [AgentProcess, AgentProcess];
    using meter = new ProcessMeter(b.pid);
    await Promise.all([a.ready(TIMEOUT_MS), b.ready(TIMEOUT_MS)]);
    await waitUntil(() => applications.b.every((one) => one.count() === RECORDS), {
      timeoutMs: TIMEOUT_MS,
      what: 'all databases in b',
    });
    const startedMs = performance.now() - startMs;
    const latenciesMs: number[] = [];
    for (let i = 0; i < CHANGES; i += 1) {
      const [from, to] = [applications.a[i % DATABASES], applications.b[i % DATABASES]];
      const changeMs = performance.now();
      from?.write([{ key: 'changed', value: `${i}` }]);
      await waitUntil(() => to?.read('changed')?.value === `${i}`, {
        timeoutMs: TIMEOUT_MS,
        what: `change ${i}`,
      });
      latenciesMs.push(performance.now() - changeMs);
    }
    const of = `${DATABASES} databases`;
    return [
      { name: `${of}: both hosts started and equal`, value: startedMs, unit: 'ms' },
      { name: `${of}: memory of an agent`, value: meter.peakMemoryMb, unit: 'MB' },
      { name: `${of}: commit to visible p50`, value: quantile(latenciesMs, 0.5), unit: 'ms' },
      { name: `${of}: commit to visible p99`, value: quantile(latenciesMs, 0.99), unit: 'ms' },
    ];
  } finally {
    await Promise.all(agents.map((agent) => agent.stop('SIGKILL')));
    for (const one of [...applications.a, ...applications.b]) {
      one[Symbol.dispose]();
    }
    await rm(folder, { recursive: true, force: true });
  }
}

function start(folder: string, name: string): Promise<AgentProcess> {
  const databases = Object.fromEntries(
    Array.from({ length: DATABASES }, (_, i) => [`db${i}`, join(folder, `${name}-${i}.lmdb`)]),
  );
  return AgentProcess.start({
    name,
    folder,
    databases,
    storage: folderStorage(join(folder, 'bucket')),
  });
}
