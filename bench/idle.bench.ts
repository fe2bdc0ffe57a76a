import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentProcess, folderStorage } from '../demo/agent-process.ts';
import { Application } from '../demo/application.ts';
import { findMiniStack, startMiniStack } from '../test/support/aws/ministack.ts';
import { NoticeBucket } from '../test/support/aws/notice-bucket.ts';
import { cpuTimeMs } from './support/process-meter.ts';
import type { BenchOptions, Row } from './support/row.ts';

/** V8 collects once more some ten seconds after a start, in one thread after the other: no part of being idle. */
const SETTLE_MS = 20_000;
const SETTLE_MANY_MS = 90_000;
const WATCH_MS = 30_000;
/** As long as it is between two listings. */
const QUEUE_WATCH_MS = 300_000;
const AGENT = 'idle';
const MINUTE_MS = 60_000;
const MANY = 64;

/** What an agent costs while nothing happens: CPU and listings per minute and database. */
export async function run(options: BenchOptions): Promise<Row[]> {
  const rows: Row[] = [];
  for (const databases of [1, MANY]) {
    const ours = await idle(databases);
    const peer =
      options.peer === undefined ? undefined : await idle(databases, { peer: options.peer });
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
  return [...rows, ...(await idleWithQueue())];
}

/** What it costs to wait for notices: long polls, and a listing now and then in case one was lost. */
async function idleWithQueue(): Promise<Row[]> {
  const program = findMiniStack();
  if (program === undefined) {
    return [];
  }
  const server = await startMiniStack(program);
  const bucket = await NoticeBucket.open(server, `idle-${randomUUID()}`);
  try {
    await bucket.notifyOfObjects();
    await bucket.createQueueOf(AGENT);
    bucket.startFanOut();
    const { cpuMs, lists, queueRequests } = await idle(1, {
      storage: bucket.storage(),
      settings: bucket.notices(),
      watchMs: QUEUE_WATCH_MS,
    });
    const name = 'idle with 1 database and a queue';
    return [
      { name: `${name}: CPU per minute`, value: cpuMs, unit: 'ms', target: 80 },
      { name: `${name}: requests to SQS per minute`, value: queueRequests, unit: '', target: 3 },
      { name: `${name}: listings per minute`, value: lists, unit: '', target: 0.2 },
    ];
  } finally {
    await bucket.close();
    await server.stop();
  }
}

type IdleOptions = {
  readonly peer?: string;
  /** As those of an agent; unless given, a folder. */
  readonly storage?: string;
  readonly settings?: string;
  readonly watchMs?: number;
};

async function idle(
  databases: number,
  { peer, storage, settings, watchMs = WATCH_MS }: IdleOptions = {},
) {
  const folder = await mkdtemp(join(tmpdir(), 'lightningstream-idle-'));
  const names = Array.from({ length: databases }, (_, i) => `db${i}`);
  const files = Object.fromEntries(names.map((name) => [name, join(folder, `${name}.lmdb`)]));
  for (const file of Object.values(files)) {
    using application = Application.open(file);
    application.write([{ key: 'one', value: 'entry' }]);
  }
  const agent = await AgentProcess.start({
    name: AGENT,
    folder,
    databases: files,
    storage: storage ?? folderStorage(join(folder, 'bucket')),
    settings,
    command: peer === undefined ? undefined : [peer],
  });
  try {
    await agent.ready(60_000);
    await sleep(databases === 1 ? SETTLE_MS : SETTLE_MANY_MS);
    const before = await agent.traffic();
    const cpuMs = cpuTimeMs(agent.pid) ?? 0;
    await sleep(watchMs);
    // The CPU first: the question below costs some itself.
    const used = (cpuTimeMs(agent.pid) ?? 0) - cpuMs;
    const after = await agent.traffic();
    const perMinute = MINUTE_MS / watchMs / databases;
    return {
      cpuMs: used * perMinute,
      lists: (after.lists - before.lists) * perMinute,
      queueRequests: (after.queueRequests - before.queueRequests) * perMinute,
    };
  } finally {
    await agent.stop('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  }
}
