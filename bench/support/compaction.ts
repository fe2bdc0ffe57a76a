import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { CompactListedAnswer, CompactListedRequest } from './compact-listed.ts';
import type { CompactOnceAnswer, CompactOnceRequest } from './compact-once.ts';

/** One run of the compactor, in a process of its own. */
export function compactOnce(request: CompactOnceRequest): Promise<CompactOnceAnswer> {
  return inChild('compact-once.ts', request);
}

/** One run over objects that exist as a listing alone, in a process of its own. */
export function compactListed(request: CompactListedRequest): Promise<CompactListedAnswer> {
  return inChild('compact-listed.ts', request);
}

async function inChild<T>(file: string, request: unknown): Promise<T> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const child = fork(path, [JSON.stringify(request)], { execArgv: ['--import', 'tsx'] });
  let answer: T | undefined;
  child.once('message', (message) => (answer = message as T));
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
