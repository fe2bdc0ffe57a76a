import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentProcess } from '../agent/demo/agent-process.ts';
import { waitUntil } from '../agent/demo/wait.ts';
import { BenchHosts, recordKey, recordValue } from './support/bench-host.ts';
import { lockTime, meanHeldMs } from './support/lock-time.ts';
import { cpuTimeMs } from './support/process-meter.ts';
import type { BenchOptions, Row } from './support/row.ts';
import { quantile } from './support/statistics.ts';

const SMALL = 10_000;
const CHANGES = 200;
const PEER_CHANGES = 15;
const SETTLE_MS = 1500;
const ARRIVAL_TIMEOUT_MS = 30_000;

/** Commit in A to visible in B over a folder, with what one change costs in bytes, CPU and write lock. */
export async function run(options: BenchOptions): Promise<Row[]> {
  const rows: Row[] = [];
  for (const records of new Set([SMALL, options.records])) {
    const hosts = await BenchHosts.open(records);
    try {
      const ours = await measure(hosts, { changes: CHANGES });
      const peer =
        options.peer === undefined
          ? undefined
          : await measure(hosts, { changes: PEER_CHANGES, peer: options.peer });
      rows.push(...report(`${records.toLocaleString('en')} records`, ours, peer));
    } finally {
      await hosts.close();
    }
  }
  return rows;
}

type Cost = {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly cpuMs: number;
  readonly lockMs: number;
};

async function measure(
  hosts: BenchHosts,
  { changes, peer }: { changes: number; peer?: string | undefined },
): Promise<Cost> {
  const bucket = hosts.freshBucket();
  const a = await hosts.application('a', 'filled');
  const b = await hosts.application('b', 'filled');
  const agents = [
    await hosts.start('a', { peer, bucket }),
    await hosts.start('b', { peer, bucket }),
  ] as const;
  await Promise.all(agents.map((agent) => agent.ready(120_000)));
  // The first full snapshots of both are merged by the other one; wait for that to be over.
  await sleep(SETTLE_MS);

  const latencies: number[] = [];
  const change = async (i: number): Promise<void> => {
    const write = { key: recordKey(i * 37), value: recordValue(i, 1) };
    a.write([write]);
    latencies.push(
      await waitUntil(() => b.read(write.key)?.value === write.value, {
        timeoutMs: ARRIVAL_TIMEOUT_MS,
        what: `change ${i} in b`,
      }),
    );
    // Not in step with any poll.
    await sleep(20 + (i % 7) * 5);
  };
  await change(0);
  latencies.length = 0;

  const before = await sample(agents);
  for (let i = 1; i <= changes; i++) {
    await change(i);
  }
  const after = await sample(agents);
  await hosts.clear();
  return {
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    bytesUp: (after.bytesUp - before.bytesUp) / changes,
    bytesDown: (after.bytesDown - before.bytesDown) / changes,
    cpuMs: (after.cpuMs - before.cpuMs) / changes,
    lockMs: meanHeldMs(before.lock, after.lock),
  };
}

async function sample([a, b]: readonly [AgentProcess, AgentProcess]) {
  // The CPU first: answering the questions below is no cost of a change.
  const cpuMs = (cpuTimeMs(a.pid) ?? 0) + (cpuTimeMs(b.pid) ?? 0);
  const [up, down, lock] = await Promise.all([a.traffic(), b.traffic(), lockTime(b)]);
  return { cpuMs, bytesUp: up.bytesUp, bytesDown: down.bytesDown, lock };
}

function report(size: string, ours: Cost, peer: Cost | undefined): Row[] {
  const row = (name: string, key: keyof Cost, unit: string, target: number): Row => ({
    name: `${name}, ${size}`,
    value: ours[key],
    unit,
    target,
    peer: peer?.[key],
  });
  return [
    row('commit to visible p50, folder', 'p50Ms', 'ms', 10),
    row('commit to visible p99, folder', 'p99Ms', 'ms', 50),
    row('bytes up per change', 'bytesUp', 'bytes', 600),
    row('bytes down per change and reader', 'bytesDown', 'bytes', 600),
    row('CPU per change, A + B', 'cpuMs', 'ms', 8),
    row('write lock in B per change', 'lockMs', 'ms', 1),
  ];
}
