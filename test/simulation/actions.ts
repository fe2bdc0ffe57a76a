import type { Register } from '../../protocol/register.ts';
import { lacks, show } from './ledger.ts';
import type { SeededRandom } from '../support/random.ts';
import type { SimDatabase } from './sim-database.ts';
import type { SimHost, World } from './world.ts';

/** What happens at one moment; `random` decides its particulars and nothing else. */
type Action = (world: World, random: SeededRandom) => Promise<void> | void;

const SKEWS = [0, 1, -1, 0.01, -0.01];

/** A value, or a deletion. */
function register(timestampNs: bigint, text: string | undefined): Register {
  return {
    timestampNs,
    value: text === undefined ? new Uint8Array(0) : Buffer.from(text, 'latin1'),
    deleted: text === undefined,
  };
}

function pickHost({ hosts }: World, random: SeededRandom): SimHost {
  return random.pick(hosts);
}

function pickDatabase(host: SimHost, random: SeededRandom): SimDatabase {
  return random.pick(host.databases);
}

/** An application is told to write: its agent notices at once, or at its next look. */
function tell(world: World, random: SeededRandom, host: SimHost, database: SimDatabase): void {
  world.tellChange(host, database, random.chance(0.8) ? random.next() : 1000 * random.next());
}

/**
 * Commits writes of the application in one transaction. Also one that loses is what the host holds from then on,
 * unless its agent has seen what it replaces (`seen`): then that must come back.
 */
function commit(
  world: World,
  database: SimDatabase,
  registers: ReadonlyMap<string, Register>,
  seen = false,
): void {
  const before = database.dump();
  attempt(world, database, () => {
    database.commit(registers);
    for (const [key, written] of registers) {
      const known = before.get(key);
      const loses = known !== undefined && !lacks(new Map([[key, known]]), key, written);
      if (!loses || !seen) {
        database.committed.set(key, written);
      }
      const against = loses ? ` (loses against ${show(known)}${seen ? ', seen' : ''})` : '';
      world.log(`${database.label} writes ${key} ${show(written)}${against}`);
    }
  });
}

/** A full map refuses the whole transaction; everything else must work. */
function attempt(world: World, database: SimDatabase, work: () => void): void {
  try {
    work();
  } catch (error) {
    const text = String(error);
    if (!world.traits.growsMaps || !/MDB_MAP_(FULL|RESIZED)/.test(text)) {
      throw error;
    }
    world.log(`${database.label} cannot write: ${text}`);
  }
}

function write(world: World, random: SeededRandom): void {
  const host = pickHost(world, random);
  if (world.traits.receiveOnly.includes(host.index)) {
    return;
  }
  const database = pickDatabase(host, random);
  const { keys, growsMaps } = world.traits;
  const values = new Map<string, string | undefined>();
  const count = random.pick([1, 1, 1, 2, 10]);
  for (let at = 0; at < count; at += 1) {
    const large = growsMaps ? 0.3 : 0.05;
    const text = random.chance(large) ? 'x'.repeat(6000) : `${host.label}${random.below(1000)}`;
    values.set(random.pick(keys), random.chance(0.25) ? undefined : text);
  }
  if (database.schema === 'shadow') {
    writePlain(world, host, database, values);
  } else {
    const now = host.clock.nowNs();
    const registers = [...values].map(([key, text]) => [key, register(now, text)] as const);
    commit(world, database, new Map(registers));
  }
  tell(world, random, host, database);
}

function writePlain(
  world: World,
  host: SimHost,
  database: SimDatabase,
  values: ReadonlyMap<string, string | undefined>,
): void {
  const before = database.dumpPlain();
  const registers = database.dump();
  attempt(world, database, () => {
    database.commitPlain(values);
    for (const [key, value] of values) {
      if (before.get(key) === value) {
        continue;
      }
      const atNs = host.clock.nowNs();
      // What came and went between two looks at the LMDB leaves nothing to be seen.
      const wasKnown = value !== undefined || registers.get(key)?.deleted === false;
      const isOpen = host.agent?.find(database.name)?.isOpen === true;
      database.plain.set(key, { value, atNs, watched: wasKnown && isOpen });
      world.log(`${database.label} writes ${key} ${value === undefined ? 'x' : value.slice(0, 9)}`);
    }
  });
}

/** The same time as an entry somewhere else has: the value decides. */
function writeTie(world: World, random: SeededRandom): void {
  const host = pickHost(world, random);
  const database = pickDatabase(host, random);
  const stored = [...world.ledger(database.name).winners];
  if (stored.length === 0 || database.schema === 'shadow') {
    return;
  }
  if (world.traits.receiveOnly.includes(host.index) || world.traits.pace === 'long') {
    return;
  }
  // It may lose against what is there, as what writeLoser writes.
  if (world.traits.growsMaps) {
    return;
  }
  const [key, { timestampNs }] = random.pick(stored);
  const text = random.pick([undefined, '', 'tie', 'a']);
  commit(world, database, new Map([[key, register(timestampNs, text)]]));
  tell(world, random, host, database);
}

/** The application's clock is behind: what it writes loses against what is there. */
async function writeLoser(world: World, random: SeededRandom): Promise<void> {
  const host = pickHost(world, random);
  const database = pickDatabase(host, random);
  if (database.schema === 'shadow' || world.traits.growsMaps) {
    return;
  }
  if (world.traits.pace === 'long') {
    return;
  }
  // Seen by the agent first, the winner must come back; else the application has simply replaced it.
  const { agent } = host;
  const looks = agent?.isDoomed === false && random.chance(0.6);
  const seen = looks && (await agent.detect(database.name));
  const entries = [...database.dump()];
  if (entries.length === 0 || host.agent?.isGone === true) {
    return;
  }
  if (seen) {
    database.mustLook = true;
  }
  const [key, { timestampNs }] = random.pick(entries);
  const behind = BigInt(1 + random.below(20_000_000));
  commit(world, database, new Map([[key, register(timestampNs - behind, 'loser')]]), seen);
  tell(world, random, host, database);
}

/** A native application removes a key, or drops a DBI, without leaving tombstones, while an agent watches. */
async function removeKey(world: World, random: SeededRandom): Promise<void> {
  const host = pickHost(world, random);
  const database = pickDatabase(host, random);
  if (host.agent?.isDoomed !== false || database.schema === 'shadow') {
    return;
  }
  if (world.traits.growsMaps || !(await host.agent.detect(database.name))) {
    return;
  }
  const entries = [...database.dump()];
  if (entries.length === 0 || host.agent.isGone) {
    return;
  }
  const [key] = random.pick(entries);
  database.mustLook = true;
  if (random.chance(0.2)) {
    database.dropDbi(key);
  } else {
    database.remove(key);
  }
  world.log(`${database.label} removes ${key} without a tombstone, or its whole DBI`);
  tell(world, random, host, database);
}

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
  if (host.agent !== undefined || database.backup === undefined) {
    return;
  }
  await database.replace(database.backup);
  world.log(`${database.label} is restored`);
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

function skew(world: World, random: SeededRandom): void {
  const host = pickHost(world, random);
  // What is written with a clock behind may lose against what is there, as what writeLoser writes.
  if (world.traits.growsMaps) {
    return;
  }
  host.clock.skewMs = world.traits.skewMs * random.pick(SKEWS);
  world.log(`${host.label} clock ${host.clock.skewMs} ms`);
}

/** Mostly what is new: the rest has been read by everybody. */
async function damage(world: World, random: SeededRandom): Promise<void> {
  const { bucket, traits } = world;
  const all = (await bucket.names()).filter((name) => name.endsWith('.pb.gz'));
  const newest = all.toSorted().slice(-2);
  const names = random.chance(0.7) ? newest : all;
  if (names.length === 0 || !traits.damages) {
    return;
  }
  const name = random.pick(names);
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
    world.startCompaction(name);
  }
}

function endCompaction(world: World, random: SeededRandom): void {
  world.endCompactions(random.pick(['crash', 'abort']));
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

function upstreamWrites(world: World, random: SeededRandom): void {
  if (world.peers.length === 0) {
    return;
  }
  const key = random.pick(world.traits.keys);
  const text = random.chance(0.25) ? undefined : `u${random.below(1000)}`;
  const written = register(world.scheduler.clock.nowNs(), text);
  random.pick(world.peers).write(key, written);
  world.log(`upstream writes ${key} ${show(written)}`);
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
} as const satisfies Record<string, readonly [weight: number, action: Action]>;

export type Weights = Readonly<Record<keyof typeof ACTIONS, number>>;

/** Every schedule leaves out some kinds and takes others more often: that reaches more than one mean does. */
export function drawWeights(random: SeededRandom): Weights {
  const weights = Object.entries(ACTIONS).map(([name, [weight]]) => {
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
