import { once } from 'node:events';
import type { AgentProcess } from '../../demo/agent-process.ts';
import type { Write } from '../../demo/application.ts';
import type { BenchHosts } from './bench-host.ts';

/** Verb of an agent that stores what its LMDB holds, and ends. */
export const ONLY_ONCE = ['sync', '--only-once'] as const;

/** Resolves when the agent has ended by itself; rejects with its log where it failed. */
export async function ended(agent: AgentProcess): Promise<void> {
  await once(agent.child, 'exit');
  if (agent.child.exitCode !== 0) {
    throw new Error(`sync --only-once failed:\n${await agent.log()}`);
  }
}

/** A bucket with one full snapshot, of the filled LMDB with some records changed, as the host's agent stores it. */
export async function storeOnce(
  hosts: BenchHosts,
  host: string,
  changes: readonly Write[],
): Promise<string> {
  const bucket = hosts.freshBucket();
  const application = await hosts.application(host, 'filled');
  application.write(changes);
  await ended(await hosts.start(host, { bucket, verb: ONLY_ONCE }));
  await hosts.clear();
  return bucket;
}
