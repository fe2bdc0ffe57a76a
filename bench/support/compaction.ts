import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { CompactOnceAnswer, CompactOnceRequest } from './compact-once.ts';

const CHILD = fileURLToPath(new URL('compact-once.ts', import.meta.url));

/** One run of the compactor, in a process of its own. */
export async function compactOnce(request: CompactOnceRequest): Promise<CompactOnceAnswer> {
  const child = fork(CHILD, [JSON.stringify(request)], { execArgv: ['--import', 'tsx'] });
  let answer: CompactOnceAnswer | undefined;
  child.once('message', (message) => (answer = message as CompactOnceAnswer));
  await once(child, 'exit');
  if (answer === undefined) {
    throw new Error('the compaction failed');
  }
  return answer;
}

/** As many runs as it takes until nothing is left to fold, as the schedule would make them. */
export async function compactAll(
  request: CompactOnceRequest,
): Promise<{ wallMs: number; memoryMb: number; runs: number }> {
  const sum = { wallMs: 0, memoryMb: 0, runs: 0 };
  for (let isDone = false; !isDone;) {
    const { wallMs, memoryMb, foldedObjects } = await compactOnce(request);
    sum.wallMs += wallMs;
    sum.memoryMb = Math.max(sum.memoryMb, memoryMb);
    sum.runs += 1;
    isDone = foldedObjects === 0;
  }
  return sum;
}
