import { setTimeout as pause } from 'node:timers/promises';
import { covers } from '../../protocol/version-vector.ts';
import { freshState } from '../support/compaction.ts';
import type { Fleet } from './fleet.ts';
import { differences, type Host } from './host.ts';
import { equal, lacks, mergeInto, show, type Content, type StoredObject } from './ledger.ts';

/** A rule that must always hold does not. */
export class Violation extends Error {}

const HEAL_ROUNDS = 400;

/** I5: what an agent says to have of all objects ever stored is in its LMDB, or something newer. */
export async function checkVectors(fleet: Fleet): Promise<void> {
  for (const host of fleet.hosts) {
    const { run } = host;
    if (run === undefined || !run.isStarted) continue;
    const covered = [...fleet.ledger.objects.values()].filter(({ object }) =>
      run.engine.has(object),
    );
    // What the application must not do is repaired at the next look.
    await run.detect();
    if (host.run !== run) continue;
    requireMerged(`${host.label} counts`, host, covered);
    const vector = host.savedVector();
    const saved = [...fleet.ledger.objects.values()].filter(({ object }) => covers(vector, object));
    requireMerged(`the LMDB of ${host.label} counts`, host, saved);
  }
}

function requireMerged(who: string, host: Host, objects: readonly StoredObject[]): void {
  const content = host.dump();
  for (const { object, content: stored } of objects) {
    for (const [key, register] of stored) {
      if (!lacks(content, key, register)) continue;
      const [has, had] = [show(content.get(key)), show(register)];
      throw new Violation(`I5: ${who} ${object.name} as merged and has ${key}=${has}, not ${had}`);
    }
  }
}

/** I2: whatever was stored is what a fresh reader gets from the bucket, or something newer. */
export async function checkBucket(fleet: Fleet): Promise<void> {
  if (fleet.bucket.damagedNames.length > 0) return;
  await fleet.compactionsEnded();
  // Objects that are stored meanwhile only add to it.
  const winners = new Map(fleet.ledger.winners);
  const fresh = await bucketContent(fleet);
  for (const [key, register] of winners) {
    if (!lacks(fresh, key, register)) continue;
    throw new Violation(
      `I2: a fresh reader gets ${key}=${show(fresh.get(key))}, stored was ${show(register)}`,
    );
  }
}

async function bucketContent(fleet: Fleet): Promise<Content> {
  const content: Content = new Map();
  for (const [dbi, entries] of await freshState(fleet.bucket)) {
    for (const [hex, register] of entries) {
      const key = `${dbi}/${Buffer.from(hex, 'hex').toString('latin1')}`;
      mergeInto(content, key, register);
    }
  }
  return content;
}

/** Faults end, all agents run, everybody lists now and then; then all must be equal, and nothing lost (I1, I2, I3). */
export async function healAndCheck(fleet: Fleet): Promise<void> {
  fleet.isHealing = true;
  if (fleet.random.chance(0.5)) await fleet.store.landLate();
  else fleet.store.dropLate();
  await fleet.bucket.repairAll();
  await fleet.compactionsEnded();
  for (const host of fleet.hosts) {
    if (!host.isUp) fleet.start(host);
  }
  fleet.log('healed');
  await untilQuiet(fleet);
  await checkVectors(fleet);
  await checkBucket(fleet);
  if (fleet.traits.upstreamReaders) await checkUpstream(fleet);
  const fresh = fleet.addHost('fresh', 'fresh');
  const run = fleet.start(fresh, { onlyOnce: true, receiveOnly: true });
  await run.ended();
  fresh.run = undefined;
  run.requireNoFailure();
  requireEqual('I3', fresh, expected(fleet));
  for (const host of fleet.hosts) {
    if (host === fresh) continue;
    await fleet.stop(host);
    requireEqual('I1 after stop', host, expected(fleet));
  }
}

/** I4: upstream, which reads the newest full snapshot (by name) of each instance and nothing else, gets it all. */
async function checkUpstream(fleet: Fleet): Promise<void> {
  for (let round = 0; ; round += 1) {
    fleet.clock.advanceMs(20);
    for (const host of fleet.hosts) {
      host.tellChange();
      if (round % 4 === 0) host.run?.engine.noteListing();
    }
    await pause(2);
    const content = newestSnapshots(fleet, await fleet.bucket.names());
    const lacking = [...expected(fleet)].filter(([key, wanted]) => lacks(content, key, wanted));
    const [first] = lacking;
    if (first === undefined) return;
    if (round < HEAL_ROUNDS) continue;
    const [key, wanted] = first;
    throw new Violation(
      `I4: upstream reads ${key}=${show(content.get(key))}, should be ${show(wanted)}`,
    );
  }
}

function newestSnapshots(fleet: Fleet, names: readonly string[]): Content {
  const newest = new Map<string, StoredObject>();
  for (const name of names) {
    const stored = fleet.ledger.objects.get(name);
    if (stored?.object.kind !== 'snapshot') continue;
    const best = newest.get(stored.object.instance);
    if (best === undefined || name > best.object.name) newest.set(stored.object.instance, stored);
  }
  const content: Content = new Map();
  for (const stored of newest.values()) {
    for (const [key, register] of stored.content) mergeInto(content, key, register);
  }
  return content;
}

function expected(fleet: Fleet): Content {
  const all: Content = new Map(fleet.ledger.winners);
  for (const { committed } of fleet.hosts) {
    for (const [key, register] of committed) mergeInto(all, key, register);
  }
  return all;
}

async function untilQuiet(fleet: Fleet): Promise<void> {
  for (let round = 0; ; round += 1) {
    fleet.clock.advanceMs(20);
    for (const host of fleet.hosts) {
      const { run } = host;
      run?.requireNoFailure();
      if (run?.hasFinished === true) throw new Violation('an engine ended by itself');
      host.tellChange();
      if (round % 4 === 0) run?.engine.noteListing();
    }
    await pause(round < 20 ? 1 : 5);
    const wanted = expected(fleet);
    const wrong = fleet.hosts.filter((host) => differences(host.dump(), wanted).length > 0);
    if (wrong.length === 0 && fleet.hosts.every(({ run }) => run?.isStarted)) return;
    if (round < HEAL_ROUNDS) continue;
    for (const host of wrong) requireEqual('I1', host, wanted);
    throw new Violation('an agent never finished its first pass');
  }
}

function requireEqual(rule: string, host: Host, wanted: Content): void {
  const content = host.dump();
  const lines = [...new Set([...content.keys(), ...wanted.keys()])]
    .filter((key) => !equal(content.get(key), wanted.get(key)))
    .map((key) => `${key}: ${show(content.get(key))}, should be ${show(wanted.get(key))}`);
  if (lines.length > 0) {
    throw new Violation(`${rule}: ${host.label} ends with ${lines.slice(0, 3).join('; ')}`);
  }
}
