import { createHash } from 'node:crypto';
import { drawWeights, takeAction } from './actions.ts';
import { commitBeforeLocks } from './application-actions.ts';
import { checkBucket, checkVectors, healAndCheck } from './checks.ts';
import { clearBeforeLocks } from './lock-commits.ts';
import { realClock } from './time/real-clock.ts';
import { SeededRandom } from '../support/random.ts';
import { drawTraits, type Traits } from './traits.ts';
import { World } from './world.ts';

const ACTIONS_PER_CHECK = 8;

export type SeedOptions = {
  /** Actions that are left out, by number: what makes a failing schedule shorter. */
  readonly skip?: ReadonlySet<number>;
  /** Traits that are not those of the seed. */
  readonly traits?: Partial<Traits>;
};

export type SeedResult = {
  readonly seed: number;
  readonly traits: Traits;
  readonly actions: number;
  /** Events of the scheduler. */
  readonly events: number;
  readonly virtualMs: number;
  /** Equal exactly if everything that is traced happened equally. */
  readonly hash: string;
  readonly trace: readonly string[];
  readonly failure: Error | undefined;
};

/**
 * One schedule: what the seed says, then everything heals, then the checks. The same seed does the same again, event by
 * event. Never rejects: what failed is in the result.
 */
export async function runSeed(seed: number, options: SeedOptions = {}): Promise<SeedResult> {
  const random = new SeededRandom(seed);
  // What came later is drawn from randomness of its own: older traits of a seed stay what they are.
  const traits = { ...drawTraits(random, new SeededRandom(~seed)), ...options.traits };
  const weights = drawWeights(random, traits);
  const world = new World(random.fork(), traits);
  const actions = random.fork();
  commitBeforeLocks(world, random.fork());
  const clock = realClock();
  let failure: Error | undefined;
  let done = 0;
  try {
    clock.freeze(() => world.scheduler.nowMs);
    for (const host of world.hosts) {
      if (random.chance(0.7)) {
        world.start(host);
      }
    }
    const looks = async () => {
      if (!world.bucketChanged) {
        return;
      }
      world.bucketChanged = false;
      await checkBucket(world);
    };
    for (; done < traits.steps; done += 1) {
      // Each has its own randomness: leaving one out changes no other.
      const own = actions.fork();
      const gapMs = -Math.log(1 - own.next()) * traits.gapMs;
      await world.scheduler.run(gapMs, looks);
      await forgetCrashed(world);
      if (options.skip?.has(done) === true) {
        continue;
      }
      await takeAction(world, weights, own);
      await world.scheduler.settle();
      await looks();
      if (done % ACTIONS_PER_CHECK === ACTIONS_PER_CHECK - 1) {
        await checkVectors(world);
      }
    }
    await healAndCheck(world);
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error));
  } finally {
    clock.restore();
    clearBeforeLocks();
    await world.dispose();
  }
  return {
    seed,
    traits,
    actions: done,
    events: world.scheduler.count,
    virtualMs: world.scheduler.nowMs,
    hash: createHash('sha256').update(world.trace.join('\n')).digest('hex').slice(0, 16),
    trace: world.trace,
    failure,
  };
}

/** Agents whose process ended in the middle of a call are down. */
async function forgetCrashed(world: World): Promise<void> {
  for (const host of world.hosts) {
    if (host.agent?.isGone === true) {
      await world.crash(host);
    }
  }
}

/** A failed schedule as text: the seed, how to do it again, its traits, and what happened. */
export function describe({ seed, traits, failure, trace }: SeedResult, lines = 200): string {
  const { keys, ...shown } = traits;
  return [
    `seed ${seed} failed: ${failure?.message ?? ''}`,
    JSON.stringify({ ...shown, keys: keys.length }),
    ...(trace.length > lines ? [`... ${trace.length - lines} lines before`] : []),
    ...trace.slice(-lines),
    failure?.stack ?? '',
    // Last, because whoever shows the end of a long log must show it.
    `again: npm run simulate -- --seed ${seed} --trace`,
  ].join('\n');
}
