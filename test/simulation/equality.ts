import { equal, lacks, mergeInto, show, type Content } from './ledger.ts';
import type { SimDatabase } from './sim-database.ts';
import type { SimHost, World } from './world.ts';

/** Where a database differs from what all should have. Old tombstones may be missing; nothing may be there beyond it. */
export function findUnlike(world: World, host: SimHost, database: SimDatabase): string | undefined {
  // Its LMDB became a copy of another one, and it sends nothing. Or a base was lost before a host had seen it: that
  // host cannot know that it alone holds something now.
  const keepsMore = !sends(world)(host) || world.isBaseLost;
  const wanted = expected(world, database.name);
  const ledger = world.ledger(database.name);
  const content = database.dump();
  for (const key of new Set([...wanted.keys(), ...content.keys()])) {
    const [want, have] = [wanted.get(key), content.get(key)];
    if (equal(want, have) || ledger.late.has(key) || ledger.isContested(key, want)) {
      continue;
    }
    if (keepsMore && (want === undefined || !lacks(content, key, want))) {
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

/** Whether what a host holds comes to the others. */
function sends({ traits }: World): (host: SimHost) => boolean {
  return ({ index }) => !traits.receiveOnly.includes(index);
}

/** The winners of all that was stored and of all that applications have committed. */
export function expected(world: World, name: string): Content {
  const all: Content = new Map(world.ledger(name).winners);
  for (const host of world.hosts.filter(sends(world))) {
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
