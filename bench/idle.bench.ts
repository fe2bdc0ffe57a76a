import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentProcess, folderStorage } from '../agent/demo/agent-process.ts';
import { Application } from '../agent/demo/application.ts';
import { cpuTimeMs } from './support/process-meter.ts';
import type { BenchOptions, Row } from './support/row.ts';

/** V8 collects once more some ten seconds after a start, in one thread after the other: no part of being idle. */
const SETTLE_MS = 20_000;
const SETTLE_MANY_MS = 90_000;
const WATCH_MS = 30_000;
const MINUTE_MS = 60_000;
const MANY = 64;

/** What an agent costs while nothing happens: CPU and listings per minute and database. */
export async function run(options: BenchOptions): Promise<Row[]> {
  const rows: Row[] = [];
  for (const databases of [1, MANY]) {
    const ours = await idle(databases, undefined);
    const peer = options.peer === undefined ? undefined : await idle(databases, options.peer);
    const name = `idle with ${databases} database${databases === 1 ? '' : 's'}`;
    rows.push(
      {
        name: `${name}: CPU per minute and database`,
        value: ours.cpuMs,
        unit: 'ms',
        // With many of them: 0.3 % of a core for all together.
        target: databases === 1 ? 80 : (0.003 * MINUTE_MS) / databases,
        peer: peer?.cpuMs,
      },
      {
        name: `${name}: listings per minute and database`,
        value: ours.lists,
        unit: '',
        peer: peer?.lists,
      },
    );
  }
  return rows;
}

async function idle(databases: number, peer: string | undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'lightningstream-idle-'));
  const names = Array.from({ length: databases }, (_, i) => `db${i}`);
  const files = Object.fromEntries(names.map((name) => [name, join(folder, `${name}.lmdb`)]));
  for (const file of Object.values(files)) {
    using application = Application.open(file);
    application.write([{ key: 'one', value: 'entry' }]);
  }
  const agent = await AgentProcess.start({
    name: 'idle',
    folder,
    databases: files,
    storage: folderStorage(join(folder, 'bucket')),
    command: peer === undefined ? undefined : [peer],
  });
  try {
    await agent.ready(60_000);
    await sleep(databases === 1 ? SETTLE_MS : SETTLE_MANY_MS);
    const { lists } = await agent.traffic();
    const cpuMs = cpuTimeMs(agent.pid) ?? 0;
    await sleep(WATCH_MS);
    // The CPU first: the question below costs some itself.
    const used = (cpuTimeMs(agent.pid) ?? 0) - cpuMs;
    const listed = (await agent.traffic()).lists - lists;
    const perMinute = MINUTE_MS / WATCH_MS / databases;
    return { cpuMs: used * perMinute, lists: listed * perMinute };
  } finally {
    await agent.stop('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  }
}
