import { runSeed } from './run-seed.ts';

/**
 * Agents on real LMDBs and one bucket, with everything that goes wrong in the field. `SIMULATION_SEEDS=17,18` runs those
 * seeds, `SIMULATION_SECONDS=600` runs new ones for that long (from SIMULATION_FROM, or from the time of day; 400 at
 * most).
 */
const SECONDS = Number(process.env.SIMULATION_SECONDS ?? 0);
const SEEDS =
  process.env.SIMULATION_SEEDS?.split(',').map(Number) ??
  Array.from({ length: 24 }, (_, index) => index + 1);

test.each(SEEDS)('all hosts end equal and nothing is lost: seed %i', async (seed) => {
  await expect(runSeed(seed)).resolves.toBeUndefined();
});

/** The binding keeps the files of a closed LMDB open until the process ends, some 30 per schedule. */
const MAX_SCHEDULES = 400;

/** Seeds from `first` on for some time; the failures, five at most. */
async function runFor(seconds: number, first: number): Promise<string[]> {
  const until = Date.now() + seconds * 1000;
  const failures: string[] = [];
  let seed = first;
  for (; Date.now() < until && failures.length < 5; seed += 1) {
    if (seed - first >= MAX_SCHEDULES) break;
    await runSeed(seed).catch((error: unknown) => failures.push(String(error)));
  }
  process.stderr.write(`schedules of the seeds ${first} to ${seed - 1}\n`);
  return failures;
}

if (SECONDS > 0) {
  const first = Number(process.env.SIMULATION_FROM ?? Date.now() % 1_000_000_000);
  test(
    'all hosts end equal and nothing is lost: many seeds',
    async () => {
      expect(await runFor(SECONDS, first)).toEqual([]);
    },
    SECONDS * 1000 + 60_000,
  );
}
