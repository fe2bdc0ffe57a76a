// One compaction in a process of its own, so that its memory is its own. Prints what it took to the parent.
import { randomBytes } from 'node:crypto';
import { compact } from '../../compaction/compact.ts';
import { DEFAULT_POLICY, type CompactionPolicy } from '../../compaction/policy.ts';
import { openFilesystemStore } from '../../storage/folder/store.ts';
import { ScratchFolder } from '../../compaction/scratch/scratch-folder.ts';
import { highWaterMb } from './high-water.ts';

/** What the parent asks for: folders, and how the policy differs from the default. */
export type CompactOnceRequest = {
  readonly bucket: string;
  readonly scratch: string;
  readonly policy: Partial<CompactionPolicy>;
};

/** What a run took. */
export type CompactOnceAnswer = {
  readonly wallMs: number;
  readonly memoryMb: number;
  readonly outcome: string;
  readonly level: string;
  readonly foldedObjects: number;
  readonly entries: number;
};

async function main(): Promise<void> {
  const { bucket, scratch, policy } = JSON.parse(process.argv[2] ?? '{}') as CompactOnceRequest;
  const store = await openFilesystemStore({ rootPath: bucket });
  const folder = await ScratchFolder.open(scratch);
  const start = performance.now();
  const { outcome, level, foldedObjects, entries, unreadable } = await compact({
    store,
    database: 'main',
    scratch: folder,
    policy: { ...DEFAULT_POLICY, mustKeepMs: 0, ...policy },
    signal: new AbortController().signal,
    nowNs: () => BigInt(Date.now()) * 1_000_000n,
    monotonicMs: () => performance.now(),
    random: randomBytes,
    writer: 'bench',
  });
  if (unreadable.length > 0) {
    throw new Error(`unreadable: ${JSON.stringify(unreadable)}`);
  }
  const wallMs = performance.now() - start;
  await folder.close();
  const memoryMb = highWaterMb();
  const answer: CompactOnceAnswer = { wallMs, memoryMb, outcome, level, foldedObjects, entries };
  process.send?.(answer);
  process.disconnect();
}

void main();
