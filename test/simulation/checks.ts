import { covers } from '../../protocol/version-vector.ts';
import { freshState } from '../support/readers/fresh-reader.ts';
import { SCHEMA_VERSION } from './application-actions.ts';
import { clearCrashPoint } from './crash-point.ts';
import { equal, mergeInto, show, type Content, type Ledger, type StoredObject } from './ledger.ts';
import type { SimDatabase } from './sim-database.ts';
import type { SimHost, World } from './world.ts';

/** A rule that must always hold does not. */
class Violation extends Error {}

/** How long hosts may take, in virtual time, until all is equal when nothing goes wrong any more. */
const HEALED_WITHIN_MS = 6 * 3_600_000;
const LARGE_MAP_BYTES = 64 * 1024 ** 2;

/** I5: what an agent says to have of all objects ever stored is in its LMDB, or something newer. */
export async function checkVectors(world: World): Promise<void> {
  for (const host of world.hosts) {
    const { agent } = host;
    if (agent === undefined || agent.isGone) {
      continue;
    }
    for (const database of host.databases) {
      const running = agent.find(database.name);
      if (running?.hosted.isStarted !== true) {
        continue;
      }
      // What the application must not do is repaired at the next look. (With maps that grow, and where versions are
      // held back, it does nothing of that kind: a look may find that the vector is void, and the engine would not hear of it.)
      const { growsMaps, upgrades } = world.traits;
      const looked = growsMaps || upgrades || (await agent.detect(database.name));
      if (agent.isGone) {
        break;
      }
      // It was replaced, and is not open again yet.
      if (!looked) {
        continue;
      }
      const ledger = world.ledger(database.name);
      const objects = [...ledger.objects.values()];
      const known = objects.filter(({ object }) => running.engine.has(object));
      requireMerged(`${database.label} counts`, {
        database,
        ledger,
        objects: known,
        mayHold: upgrades,
      });
      const vector = database.savedVector;
      const { heldSchema } = database.syncState;
      const saved = objects.filter(({ object }) => covers(vector, object));
      requireMerged(`the LMDB of ${database.label} counts`, {
        database,
        ledger,
        objects: saved,
        mayHold: heldSchema !== undefined,
      });
    }
  }
}

function requireMerged(
  who: string,
  {
    database,
    ledger,
    objects,
    mayHold,
  }: {
    database: SimDatabase;
    ledger: Ledger;
    objects: readonly StoredObject[];
    /** A schema version may be held back: the one entry that may be missing then. */
    mayHold: boolean;
  },
): void {
  const content = database.dump();
  for (const { object, content: stored } of objects) {
    // Whoever counts a marked one has what its stream added, and need not have read it.
    if (object.marked) {
      continue;
    }
    for (const [key, register] of stored) {
      if (!ledger.isLost(content, key, register) || ledger.mayBeSwept(key, register)) {
        continue;
      }
      if (key === SCHEMA_VERSION && mayHold) {
        continue;
      }
      const [has, had] = [show(content.get(key)), show(register)];
      throw new Violation(`I5: ${who} ${object.name} as merged and has ${key}=${has}, not ${had}`);
    }
  }
}

/** Once all is well again no agent says otherwise: what failed is over with the next success of just that. */
function checkHealth(world: World): void {
  for (const { label, agent } of world.hosts) {
    for (const { name, followed } of agent?.isGone === false ? agent.engines : []) {
      const trouble = followed.trouble();
      if (trouble.length > 0) {
        throw new Violation(`${label} still reports trouble with ${name}: ${trouble.join(', ')}`);
      }
    }
  }
}

/** I2: whatever was stored is what a fresh reader gets from the bucket, or something newer. */
export async function checkBucket(world: World): Promise<void> {
  for (const [name, ledger] of world.ledgers) {
    const content = await bucketContent(world, name);
    for (const [key, register] of ledger.winners) {
      if (!ledger.isLost(content, key, register)) {
        continue;
      }
      const [gets, stored] = [show(content.get(key)), show(register)];
      throw new Violation(`I2: a fresh reader gets ${name} ${key}=${gets}, stored was ${stored}`);
    }
  }
}

async function bucketContent(world: World, database: string): Promise<Content> {
  const content: Content = new Map();
  let state;
  try {
    state = await freshState(world.bucket.undamaged, database);
  } catch (error) {
    throw new Violation(`I2: ${String(error)}`);
  }
  for (const [dbi, entries] of state) {
    for (const [hex, register] of entries) {
      mergeInto(content, `${dbi}/${Buffer.from(hex, 'hex').toString('latin1')}`, register);
    }
  }
  return content;
}

/** Faults end, all agents run; then all must become equal, and nothing may be lost (I1, I3, I4). */
export async function healAndCheck(world: World): Promise<void> {
  const { fate, random, scheduler, bucket } = world;
  fate.isHealing = true;
  fate.dropsLate = random.chance(0.5);
  await bucket.repairAll();
  for (const host of world.hosts) {
    if (world.traits.growsMaps || world.traits.upgrades) {
      await world.crash(host);
    }
    if (world.traits.growsMaps) {
      await growMaps(host);
    }
    if (host.agent === undefined || host.agent.isGone) {
      await world.crash(host);
      world.start(host);
    }
    for (const database of host.databases) {
      clearCrashPoint(database.file);
      // Some last change is told of.
      world.tellChange(host, database, 1);
    }
  }
  world.log('healed');
  const withinMs =
    world.traits.pace === 'long' ? HEALED_WITHIN_MS : 20 * world.traits.listingMs + 10 * 60_000;
  const reached = await scheduler.until(() => findWrong(world) === undefined, withinMs);
  if (!reached) {
    throw new Violation(findWrong(world) ?? 'never came to rest');
  }
  // What is still on its way must not make it wrong again.
  await scheduler.run(world.traits.pace === 'long' ? 40 * 60_000 : 3 * world.traits.listingMs);
  const wrong = findWrong(world);
  if (wrong !== undefined) {
    throw new Violation(`not for long: ${wrong}`);
  }
  checkHealth(world);
  await checkVectors(world);
  await checkBucket(world);
  checkPlainWrites(world);
  await checkFreshHost(world);
  for (const host of world.hosts) {
    if (host.agent === undefined) {
      continue;
    }
    await world.stop(host);
    for (const database of host.databases) {
      const unlike = findUnlike(world, database);
      if (unlike !== undefined) {
        throw new Violation(`after stopping: ${unlike}`);
      }
    }
  }
}

async function growMaps(host: SimHost): Promise<void> {
  for (const database of host.databases) {
    if (database.mapSizeBytes <= 8 * 1024 ** 2) {
      await database.growMap(16);
    }
  }
}

async function checkFreshHost(world: World): Promise<void> {
  const fresh = world.addHost('fresh', 'fresh', LARGE_MAP_BYTES);
  const agent = world.start(fresh, { onlyOnce: true, receiveOnly: true });
  if (!(await world.scheduler.until(() => agent.hasFinished, HEALED_WITHIN_MS))) {
    throw new Violation('a fresh host never came to an end');
  }
  fresh.agent = undefined;
  agent.requireNoFailure();
  for (const database of fresh.databases) {
    const unlike = findUnlike(world, database);
    if (unlike !== undefined) {
      throw new Violation(`I3: ${unlike}`);
    }
  }
}

/** What is not as it should be; undefined: all is well. */
function findWrong(world: World): string | undefined {
  for (const host of world.hosts) {
    const { agent } = host;
    if (agent === undefined) {
      return `${host.label} is down`;
    }
    agent.requireNoFailure();
    if (agent.hasFinished) {
      return `I1: the engines of ${host.label} have ended by themselves`;
    }
    if (!agent.isStarted) {
      return `I1: ${host.label} has never finished its first pass`;
    }
    for (const database of host.databases) {
      const unlike = findUnlike(world, database);
      if (unlike !== undefined) {
        return `I1: ${unlike}`;
      }
    }
  }
  for (const peer of world.peers) {
    const wanted = expected(world, peer.database);
    const ledger = world.ledger(peer.database);
    for (const [key, register] of wanted) {
      if (!ledger.isLost(peer.content, key, register)) {
        continue;
      }
      return `I4: upstream has ${key}=${show(peer.content.get(key))}, should be ${show(register)}`;
    }
  }
  return undefined;
}

/** Where a database differs from what all should have. Old tombstones may be missing; nothing may be there beyond it. */
function findUnlike(world: World, database: SimDatabase): string | undefined {
  const wanted = expected(world, database.name);
  const ledger = world.ledger(database.name);
  const content = database.dump();
  for (const key of new Set([...wanted.keys(), ...content.keys()])) {
    const [want, have] = [wanted.get(key), content.get(key)];
    if (equal(want, have) || ledger.late.has(key)) {
      continue;
    }
    const isDropped = (have === undefined || have.deleted) && want !== undefined;
    if (isDropped && ledger.mayBeDropped(want)) {
      continue;
    }
    return `${database.label} has ${key}=${show(have)}, should be ${show(want)}`;
  }
  return database.schema === 'native' ? undefined : findUnlikePlain(database, content);
}

/** A plain application reads what the registers say. */
function findUnlikePlain(database: SimDatabase, content: Content): string | undefined {
  const plain = database.dumpPlain();
  for (const [key, register] of content) {
    const have = plain.get(key);
    const want = register.deleted ? undefined : Buffer.from(register.value).toString('latin1');
    if (have !== want) {
      return `the application of ${database.label} reads ${key}=${have}, not ${want}`;
    }
  }
  const beyond = [...plain.keys()].find((key) => !content.has(key));
  return beyond === undefined ? undefined : `${database.label} has ${beyond} without a register`;
}

/** The winners of all that was stored and of all that applications have committed. */
function expected(world: World, name: string): Content {
  const all: Content = new Map(world.ledger(name).winners);
  for (const host of world.hosts) {
    for (const { name: own, committed } of host.databases) {
      if (own !== name) {
        continue;
      }
      for (const [key, register] of committed) {
        mergeInto(all, key, register);
      }
    }
  }
  for (const peer of world.peers) {
    if (peer.database !== name) {
      continue;
    }
    for (const [key, register] of peer.committed) {
      mergeInto(all, key, register);
    }
  }
  return all;
}

/** What a plain application committed while its agent ran was stored, or something newer took its place. */
function checkPlainWrites(world: World): void {
  for (const host of world.hosts) {
    for (const database of host.databases) {
      const ledger = world.ledger(database.name);
      const content = database.dump();
      for (const [key, { value, atNs, watched }] of database.plain) {
        if (ledger.late.has(key)) {
          continue;
        }
        const wasStored = [...ledger.objects.values()].some(({ content: stored }) => {
          const register = stored.get(key);
          if (register === undefined) {
            return false;
          }
          const text = Buffer.from(register.value).toString('latin1');
          return value === undefined ? register.deleted : !register.deleted && text === value;
        });
        const final = content.get(key);
        const isNewer = final === undefined || final.timestampNs >= atNs || !watched;
        if (wasStored || isNewer) {
          continue;
        }
        throw new Violation(
          `I1: ${database.label} wrote ${key}=${value}; it was never stored, and ${show(final)} is older`,
        );
      }
    }
  }
}
