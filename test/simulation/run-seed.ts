import { Fleet, drawTraits } from './fleet.ts';
import { checkBucket, checkVectors, healAndCheck } from './invariants.ts';
import { SeededRandom } from './random.ts';
import { drawWeights, takeStep } from './schedule.ts';

const MIN_STEPS = 20;
const MAX_STEPS = 90;
const STEPS_PER_CHECK = 8;

/**
 * One schedule: what the seed says, then everything heals, then the checks. Rejects with the seed, its traits and what
 * happened. The same seed takes the same steps; how far the agents come between two of them is up to the machine.
 */
export async function runSeed(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const traits = drawTraits(random);
  const weights = drawWeights(random);
  const fleet = new Fleet(random, traits);
  try {
    for (const host of fleet.hosts) {
      if (random.chance(0.7)) fleet.start(host);
    }
    const steps = MIN_STEPS + random.below(MAX_STEPS - MIN_STEPS);
    for (let step = 0; step < steps; step += 1) {
      await takeStep(fleet, weights);
      if (step % STEPS_PER_CHECK === STEPS_PER_CHECK - 1) {
        await checkVectors(fleet);
        await checkBucket(fleet);
      }
    }
    await healAndCheck(fleet);
  } catch (cause) {
    const { keys, ...shown } = traits;
    throw new Error(
      [
        `seed ${seed} failed: ${cause instanceof Error ? cause.message : String(cause)}`,
        JSON.stringify({ ...shown, keys: keys.length }),
        ...fleet.history,
      ].join('\n'),
      { cause },
    );
  } finally {
    await fleet.dispose();
  }
}
