import type { SeededRandom } from '../support/random.ts';
import type { SimDatabase } from './sim-database.ts';
import type { SimHost, World } from './world.ts';

/** What happens at one moment; `random` decides its particulars and nothing else. */
export type Action = (world: World, random: SeededRandom) => Promise<void> | void;

export function pickHost({ hosts }: World, random: SeededRandom): SimHost {
  return random.pick(hosts);
}

export function pickDatabase(host: SimHost, random: SeededRandom): SimDatabase {
  return random.pick(host.databases);
}
