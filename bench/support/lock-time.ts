import { readFile } from 'node:fs/promises';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { parseGoDuration } from '../../protocol/time.ts';

/** How often an agent merged, and how long its merges held the write lock (each one's longest hold, added up). */
export type LockTime = { readonly merges: number; readonly heldMs: number };

/** From our metrics; upstream has none for this and writes it into its log instead. */
export async function lockTime(agent: AgentProcess): Promise<LockTime> {
  const metrics = await agent.metrics();
  const merges = metrics.get('lightningstream_merge_lock_held_seconds_count');
  if (merges !== undefined) {
    const seconds = metrics.get('lightningstream_merge_lock_held_seconds_sum') ?? 0;
    return { merges, heldMs: seconds * 1000 };
  }
  const log = await readFile(agent.logFile, 'utf8');
  const held = Array.from(log.matchAll(/time_write_lock="?([0-9a-zµ.]+)/g), ([, text]) =>
    parseGoDuration(text as string),
  );
  return { merges: held.length, heldMs: held.reduce((sum, ms) => sum + ms, 0) };
}

/** The mean hold of the merges between two looks; 0 where there was none. */
export function meanHeldMs(before: LockTime, after: LockTime): number {
  const merges = after.merges - before.merges;
  return merges === 0 ? 0 : (after.heldMs - before.heldMs) / merges;
}
