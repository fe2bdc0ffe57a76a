import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { waitUntil } from '../../demo/wait.ts';
import { recordKey, recordValue, type BenchHosts, type StartOptions } from './bench-host.ts';
import { lockTime, meanHeldMs } from './lock-time.ts';
import { cpuTimeMs } from './process-meter.ts';
import type { BenchOptions } from './row.ts';
import { quantile } from './statistics.ts';

const SETTLE_MS = 1500;
/** Each of upstream's takes seconds. */
const PEER_CHANGES = 15;
const ARRIVAL_TIMEOUT_MS = 30_000;

/** What one changed record costs, from its commit in A until B shows it. */
export type ChangeCost = {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly cpuMs: number;
  readonly lockMs: number;
  /** From an object's event in the bucket until its notice is received, on average; 0 without notices. */
  readonly noticeDelayMs: number;
};

export type BothCosts = { readonly ours: ChangeCost; readonly peer: ChangeCost | undefined };

/** Our cost of a change, and upstream's in the same LMDBs where its binary was given. */
export async function measureBoth(
  hosts: BenchHosts,
  { peer }: BenchOptions,
  how: {
    readonly changes: number;
    readonly start: StartOptions;
    /** Of upstream, where that is another bucket or configuration. */
    readonly peerStart?: StartOptions;
  },
): Promise<BothCosts> {
  const { changes, start, peerStart = start } = how;
  const ours = await measureChanges(hosts, { changes, start });
  if (peer === undefined) {
    return { ours, peer: undefined };
  }
  const peerCost = await measureChanges(hosts, {
    changes: PEER_CHANGES,
    start: { ...peerStart, peer },
  });
  return { ours, peer: peerCost };
}

/** Writes single changes in A, one after the other, and waits for each in B. Both start with equal, filled LMDBs. */
async function measureChanges(
  hosts: BenchHosts,
  { changes, start }: { readonly changes: number; readonly start: StartOptions },
): Promise<ChangeCost> {
  const bucket = hosts.freshBucket();
  const a = await hosts.application('a', 'filled');
  const b = await hosts.application('b', 'filled');
  const agents = [
    await hosts.start('a', { bucket, ...start }),
    await hosts.start('b', { bucket, ...start }),
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
    noticeDelayMs: meanDelayMs(before.notices, after.notices),
  };
}

async function sample([a, b]: readonly [AgentProcess, AgentProcess]) {
  // The CPU first: answering the questions below is no cost of a change.
  const cpuMs = (cpuTimeMs(a.pid) ?? 0) + (cpuTimeMs(b.pid) ?? 0);
  const [up, down, lock, notices] = await Promise.all([
    a.traffic(),
    b.traffic(),
    lockTime(b),
    noticeDelays(b),
  ]);
  return { cpuMs, bytesUp: up.bytesUp, bytesDown: down.bytesDown, lock, notices };
}

/** Notices that an agent has received, and their delays added up. */
type NoticeDelays = { readonly notices: number; readonly delayMs: number };

async function noticeDelays(agent: AgentProcess): Promise<NoticeDelays> {
  const metrics = await agent.metrics();
  const of = (part: string) => metrics.get(`lightningstream_notice_delay_seconds_${part}`) ?? 0;
  return { notices: of('count'), delayMs: 1000 * of('sum') };
}

function meanDelayMs(before: NoticeDelays, after: NoticeDelays): number {
  const notices = after.notices - before.notices;
  return notices === 0 ? 0 : (after.delayMs - before.delayMs) / notices;
}
