import { CLOCK_LOOK_MS } from '../../agent/pacing/clock-watch.ts';
import type { Register } from '../../protocol/register.ts';
import type { SeededRandom } from '../support/random.ts';
import { pickDatabase, pickHost } from './action.ts';
import { lacks, show } from './ledger.ts';
import { beforeLocks } from './lock-commits.ts';
import type { SimDatabase } from './sim-database.ts';
import type { SimHost, World } from './world.ts';

/** Where PowerDNS has it, and 4 bytes long. */
export const SCHEMA_VERSION = 'pdns/schemaversion';

/** Longer than every text that is not one of the large ones. */
const LARGE_TEXT = 1000;

/** A value, or a deletion. */
function register(timestampNs: bigint, text: string | undefined): Register {
  return {
    timestampNs,
    value: text === undefined ? new Uint8Array(0) : Buffer.from(text, 'latin1'),
    deleted: text === undefined,
  };
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

/** A few keys at once, mostly one. */
export function write(world: World, random: SeededRandom): void {
  const host = pickHost(world, random);
  if (world.traits.receiveOnly.includes(host.index)) {
    return;
  }
  const database = pickDatabase(host, random);
  if (world.traits.upgrades && database.schema === 'native' && random.chance(0.15)) {
    upgrade(world, random, { host, database });
    return;
  }
  commitSome(world, random, { host, database });
}

/** Commits at the last moment, of one schedule. */
const MAX_LOCK_COMMITS = 40;

/** Each agent that waits for a write lock may find that its application has committed at the last moment. */
export function commitBeforeLocks(world: World, random: SeededRandom): void {
  const { lockCommitRate, receiveOnly } = world.traits;
  // Each of them is sent to all, whose merges take locks again: without an end nothing else would ever happen.
  let left = MAX_LOCK_COMMITS;
  for (const host of world.hosts.filter(({ index }) => !receiveOnly.includes(index))) {
    for (const database of host.databases) {
      beforeLocks(database.file, () => {
        const isIdle = world.fate.isHealing || host.agent === undefined || host.agent.isGone;
        if (left > 0 && !isIdle && random.chance(lockCommitRate)) {
          left -= 1;
          commitSome(world, random, { host, database });
        }
      });
    }
  }
}

function commitSome(
  world: World,
  random: SeededRandom,
  { host, database }: { host: SimHost; database: SimDatabase },
): void {
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
  // Beside a large value an entry that no object can carry: it stays here and stops nothing.
  if ([...values.values()].some((text) => text !== undefined && text.length > LARGE_TEXT)) {
    attempt(world, database, () => database.commitTooLong(host.clock.nowNs()));
  }
  tell(world, random, host, database);
}

/** PowerDNS is upgraded on a host, and started: it writes a version above its own one, or for the first time. */
function upgrade(
  world: World,
  random: SeededRandom,
  { host, database }: { readonly host: SimHost; readonly database: SimDatabase },
): void {
  const known = database.dump().get(SCHEMA_VERSION);
  const version = (known === undefined ? 4 : (known.value[3] ?? 0)) + 1 + random.below(2);
  const written = register(host.clock.nowNs(), String.fromCodePoint(0, 0, 0, version));
  commit(world, database, new Map([[SCHEMA_VERSION, written]]));
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
export function writeTie(world: World, random: SeededRandom): void {
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
  if (world.traits.growsMaps || world.traits.upgrades) {
    return;
  }
  const [key, { timestampNs }] = random.pick(stored);
  const text = random.pick([undefined, '', 'tie', 'a']);
  commit(world, database, new Map([[key, register(timestampNs, text)]]));
  tell(world, random, host, database);
}

/** The application's clock is behind: what it writes loses against what is there. */
export async function writeLoser(world: World, random: SeededRandom): Promise<void> {
  const host = pickHost(world, random);
  const database = pickDatabase(host, random);
  if (database.schema === 'shadow' || world.traits.growsMaps || world.traits.upgrades) {
    return;
  }
  if (world.traits.pace === 'long') {
    return;
  }
  // Seen by the agent first, the winner must come back; else the application has simply replaced it.
  const { agent } = host;
  const looks = agent?.isDoomed === false && random.chance(0.6) && isWatched(host);
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

/** While an agent has yet to find that the clock was set, it may begin a new run before it looks. */
function isWatched({ clock }: SimHost): boolean {
  return clock.untouchedMs > CLOCK_LOOK_MS;
}

/** A native application removes a key, or drops a DBI, without leaving tombstones, while an agent watches. */
export async function removeKey(world: World, random: SeededRandom): Promise<void> {
  const host = pickHost(world, random);
  const database = pickDatabase(host, random);
  if (host.agent?.isDoomed !== false || database.schema === 'shadow') {
    return;
  }
  const { growsMaps, upgrades } = world.traits;
  if (growsMaps || upgrades || !isWatched(host) || !(await host.agent.detect(database.name))) {
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

/** The instance of upstream's writes, where there is one. */
export function upstreamWrites(world: World, random: SeededRandom): void {
  if (world.peers.length === 0) {
    return;
  }
  const key = random.pick(world.traits.keys);
  const text = random.chance(0.25) ? undefined : `u${random.below(1000)}`;
  const written = register(world.scheduler.clock.nowNs(), text);
  random.pick(world.peers).write(key, written);
  world.log(`upstream writes ${key} ${show(written)}`);
}
