import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CompactListedRequest } from './support/compact-listed.ts';
import { compactListed } from './support/compaction.ts';
import type { Row } from './support/row.ts';
import { medianOf } from './support/statistics.ts';

const RUNS = 3;
/** The most that a run of the compactor lists. */
const OBJECTS = 500_000;
/** Full snapshots that upstream's instances have left, with their cleaner switched off. */
const UPSTREAM_OBJECTS = 100_000;

/** What a run of the compactor takes to list a large bucket and to plan, in a process of its own. */
export async function run(): Promise<Row[]> {
  const scratch = await mkdtemp(join(tmpdir(), 'lightningstream-bench-'));
  const measure = async (kind: CompactListedRequest['kind'], objects: number): Promise<Row[]> => {
    const { wallMs, memoryMb } = await medianOf(RUNS, async () => {
      const answer = await compactListed({ scratch, objects, kind });
      // Two of them are the base and its manifest.
      if (answer.listedObjects < objects - 2) {
        throw new Error(`${answer.listedObjects} objects were listed, expected ${objects}`);
      }
      return { wallMs: answer.wallMs, memoryMb: answer.memoryMb };
    });
    const of = `compaction, listing of ${objects.toLocaleString('en')} objects, ${kind}`;
    return [
      { name: of, value: wallMs, unit: 'ms', target: 30_000 },
      { name: `${of}, memory`, value: memoryMb, unit: 'MB', target: 300 },
    ];
  };
  try {
    return [
      ...(await measure('covered', OBJECTS)),
      ...(await measure('new', OBJECTS)),
      ...(await measure('upstream', UPSTREAM_OBJECTS)),
    ];
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
