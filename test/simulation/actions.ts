import { COMPACTED_INSTANCE } from '../../protocol/object-name.ts';
import type { SeededRandom } from '../support/random.ts';
import { pickDatabase, pickHost, type Action } from './action.ts';
import { removeKey, upstreamWrites, write, writeLoser, writeTie } from './application-actions.ts';
import type { Traits } from './traits.ts';
import type { SimDatabase } from './sim-database.ts';
import type { SimHost, World } from './world.ts';

const SKEWS = [0, 1, -1, 0.01, -0.01];

function startAgent(world: World, random: SeededRandom): void {
  const host = pickHost(world, random);
  if (host.agent !== undefined) {
    return;
  }
  world.log(`${host.label} starts`);
  world.start(host);
}

async function stopAgent(world: World, random: SeededRandom): Promise<void> {
  const host = pickHost(world, random);
  if (host.agent === undefined) {
    return;
  }
  world.log(`${host.label} stops`);
  await world.stop(host);
}

async function crashAgent(world: World, random: SeededRandom): Promise<void> {
  const host = pickHost(world, random);
  if (host.agent === undefined) {
    return;
  }
  world.log(`${host.label} crashes`);
  await world.crash(host);
}

/** The process ends in the middle of a call: behind one of its next commits. */
function crashInCall(world: World, random: SeededRandom): void {
  const host = pickHost(world, random);
  const database = pickDatabase(host, random);
  const { agent } = host;
  if (agent === undefined || host.databases.some(({ mustLook }) => mustLook)) {
    return;
  }
  const commits = 1 + random.below(3);
  agent.crashAfter(database.name, commits, () => {
    world.log(`${host.label} crashes in a call for ${database.name}`);
  });
}

function wantListing(world: World, random: SeededRandom): void {
  const host = pickHost(world, random);
  for (const { engine } of host.agent?.engines ?? []) {
    engine.noteListing();
  }
  world.log(`${host.label} lists`);
}

/** Any names, old ones too. */
function deliverOldNotices(world: World, random: SeededRandom): void {
  const host = pickHost(world, random);
  const { name } = pickDatabase(host, random);
  const names = [...world.ledger(name).objects.keys()];
  if (names.length === 0) {
    return;
  }
  const chosen = Array.from({ length: 1 + random.below(4) }, () => random.pick(names));
  host.agent?.find(name)?.engine.noteNames(chosen);
}

async function wipe(world: World, random: SeededRandom): Promise<void> {
  const host = pickHost(world, random);
  if (host.agent !== undefined) {
    return;
  }
  const database = pickDatabase(host, random);
  await database.replace(undefined);
  world.log(`${database.label} is wiped`);
}

function backup(world: World, random: SeededRandom): void {
  const database = pickDatabase(pickHost(world, random), random);
  if (database.mustLook) {
    return;
  }
  database.saveBackup();
  world.log(`${database.label} is backed up`);
}

async function restore(world: World, random: SeededRandom): Promise<void> {
  const host = pickHost(world, random);
  const database = pickDatabase(host, random);
  if (database.backup === undefined || !mayReplace(world, host, database)) {
    return;
  }
  await database.replace(database.backup);
  world.log(`${database.label} is restored`);
  host.agent?.find(database.name)?.engine.noteReplaced();
}

/** Under a running agent, too: it opens what has come. What changes before that, it finds as after a start. */
function mayReplace(world: World, { agent }: SimHost, database: SimDatabase): boolean {
  if (agent === undefined) {
    return true;
  }
  // There the checks take no look, and only a look tells that the file is another one.
  if (world.traits.growsMaps || world.traits.upgrades) {
    return false;
  }
  const isOpen = agent.find(database.name)?.isOpen === true;
  return isOpen && !agent.isDoomed && !database.mustLook && database.schema === 'native';
}

async function clone(world: World, random: SeededRandom): Promise<void> {
  const [from, to] = [pickHost(world, random), pickHost(world, random)];
  if (from === to || to.agent !== undefined) {
    return;
  }
  const source = pickDatabase(from, random);
  const target = to.databases.find(({ name }) => name === source.name);
  if (target === undefined || source.mustLook) {
    return;
  }
  source.saveBackup();
  await target.replace(source.backup);
  world.log(`${target.label} becomes a copy of ${source.label}`);
}

async function skew(world: World, random: SeededRandom): Promise<void> {
  const host = pickHost(world, random);
  // What is written with a clock behind may lose against what is there, as what writeLoser writes.
  if (world.traits.growsMaps || world.traits.upgrades) {
    return;
  }
  await world.lookIfNeeded(host);
  host.clock.skewMs = world.traits.skewMs * random.pick(SKEWS);
  // Far enough, a new run begins.
  world.noteUnwatched(host);
  world.log(`${host.label} clock ${host.clock.skewMs} ms`);
}

/** Mostly what is new: the rest has been read by everybody. */
async function damage(world: World, random: SeededRandom): Promise<void> {
  const { bucket, traits } = world;
  const isPublished = (name: string) => name.includes(`__${COMPACTED_INSTANCE}__`);
  // A compactor that finds a base damaged begins from nothing, as where it is gone.
  const all = (await bucket.names()).filter(
    (name) => name.endsWith('.pb.gz') && (traits.losesBase || !isPublished(name)),
  );
  const newest = all.toSorted().slice(-2);
  const names = random.chance(0.7) ? newest : all;
  if (names.length === 0 || !traits.damages) {
    return;
  }
  const name = random.pick(names);
  if (isPublished(name)) {
    world.noteBaseLost();
  }
  await bucket.damage(name, (bound) => random.below(bound));
  world.log(`damaged: ${name}`);
}

async function repair(world: World): Promise<void> {
  await world.bucket.repairAll();
}

function startCompaction(world: World, random: SeededRandom): void {
  const { compactors, databases } = world.traits;
  for (let at = 0; at < compactors; at += 1) {
    const { name } = random.pick(databases);
    world.log(`a compaction of ${name} begins`);
    world.compactions.start(name);
  }
}

function endCompaction(world: World, random: SeededRandom): void {
  world.compactions.end(random.pick(['crash', 'abort']));
}

async function growMap(world: World, random: SeededRandom): Promise<void> {
  const host = pickHost(world, random);
  const database = pickDatabase(host, random);
  // Growing takes a commit of the application's.
  if (world.traits.receiveOnly.includes(host.index)) {
    return;
  }
  if (!world.traits.growsMaps || database.mapSizeBytes > 8 * 1024 ** 2) {
    return;
  }
  // In one process all that have the file open share one environment, and with it its map size.
  if (host.agent !== undefined) {
    return;
  }
  await database.growMap(4);
  world.log(`${database.label} map ${database.mapSizeBytes}`);
}

/** Everything in the bucket is gone, its id too; what hosts hold must come back into it. */
async function emptyBucket(world: World, random: SeededRandom): Promise<void> {
  if (!world.traits.exchangesBucket || random.chance(0.5)) {
    return;
  }
  const signal = new AbortController().signal;
  for (const name of await world.bucket.names()) {
    await world.bucket.delete(name, signal);
  }
  for (const ledger of world.ledgers.values()) {
    ledger.forget();
  }
  world.log('the bucket is emptied');
}

async function harm({ adversary, traits }: World, random: SeededRandom): Promise<void> {
  await adversary.store(random.pick(traits.databases).name, random);
}

/** A lifecycle rule or a hand removes what compaction has published, or the manifest itself. */
async function loseBase(world: World, random: SeededRandom): Promise<void> {
  const { bucket, traits } = world;
  const { name: database } = random.pick(traits.databases);
  const published = (await bucket.names()).filter((name) =>
    name.startsWith(`${database}__${COMPACTED_INSTANCE}`),
  );
  if (published.length === 0) {
    return;
  }
  const name = random.pick(published);
  world.noteBaseLost();
  world.log(`${name} is removed by hand`);
  await bucket.delete(name, new AbortController().signal);
}

const ACTIONS = {
  write: [30, write],
  writeTie: [2, writeTie],
  writeLoser: [3, writeLoser],
  removeKey: [2, removeKey],
  startAgent: [12, startAgent],
  stopAgent: [3, stopAgent],
  crashAgent: [3, crashAgent],
  crashInCall: [2, crashInCall],
  deliverOldNotices: [2, deliverOldNotices],
  wantListing: [4, wantListing],
  wipe: [2, wipe],
  backup: [2, backup],
  restore: [2, restore],
  clone: [1, clone],
  skew: [2, skew],
  damage: [5, damage],
  repair: [2, repair],
  startCompaction: [4, startCompaction],
  endCompaction: [1, endCompaction],
  growMap: [2, growMap],
  emptyBucket: [1, emptyBucket],
  upstreamWrites: [3, upstreamWrites],
  harm: [8, harm],
  loseBase: [3, loseBase],
} as const satisfies Record<string, readonly [weight: number, action: Action]>;

export type Weights = Readonly<Record<keyof typeof ACTIONS, number>>;

/** Every schedule leaves out some kinds and takes others more often: that reaches more than one mean does. */
export function drawWeights(random: SeededRandom, { adversary, losesBase }: Traits): Weights {
  const weights = Object.entries(ACTIONS).map(([name, [weight]]) => {
    if (name === 'harm' || name === 'loseBase') {
      return [name, (name === 'harm' ? adversary : losesBase) ? weight : 0] as const;
    }
    const factor = name === 'write' || name === 'startAgent' ? 1 : random.pick([0, 1, 1, 1, 4]);
    return [name, weight * factor] as const;
  });
  return Object.fromEntries(weights) as Weights;
}

/** Takes one action; which one, and how, is up to `random` alone. */
export async function takeAction(
  world: World,
  weights: Weights,
  random: SeededRandom,
): Promise<void> {
  const name = random.weighted(weights);
  await ACTIONS[name][1](world, random);
}
