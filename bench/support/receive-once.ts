import { setTimeout as sleep } from 'node:timers/promises';
import type { Application } from '../../demo/application.ts';
import { waitUntil } from '../../demo/wait.ts';
import type { BenchHosts } from './bench-host.ts';
import { lockTime } from './lock-time.ts';
import { ProcessMeter } from './process-meter.ts';

const TIMEOUT_MS = 120_000;
const SETTLE_MS = 100;

export type ReceiveOptions = {
  readonly bucket: string;
  /** Of the LMDB at the start. */
  readonly content: 'filled' | 'empty';
  /** Upstream's binary; undefined: ours. */
  readonly peer?: string | undefined;
  /** True once everything has arrived. */
  readonly isComplete: (reader: Application) => boolean;
};

/** What a process takes that starts and merges what is in a bucket; of its merges the mean of their longest holds. */
export type ReceiveCost = {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly lockMs: number;
  readonly memoryMb: number;
  readonly bytesDown: number;
};

/** Receive-only, so that nothing is stored and every run finds the same bucket. */
export async function receiveOnce(
  hosts: BenchHosts,
  { bucket, content, peer, isComplete }: ReceiveOptions,
): Promise<ReceiveCost> {
  const reader = await hosts.application('reader', content);
  const start = performance.now();
  const agent = await hosts.start('reader', { bucket, peer, verb: ['receive'] });
  using meter = new ProcessMeter(agent.pid);
  await waitUntil(() => isComplete(reader), { timeoutMs: TIMEOUT_MS, what: 'the merge' });
  const wallMs = performance.now() - start;
  // The listing pass ends a moment after its last transaction.
  await agent.ready(TIMEOUT_MS);
  await sleep(SETTLE_MS);
  meter.sample();
  const { cpuMs, peakMemoryMb: memoryMb } = meter;
  const { merges, heldMs } = await lockTime(agent);
  const { bytesDown } = await agent.traffic();
  await hosts.clear();
  return { wallMs, cpuMs, lockMs: heldMs / Math.max(1, merges), memoryMb, bytesDown };
}
