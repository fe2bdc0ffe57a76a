import type { Register } from '../../protocol/register.ts';
import type { Fleet } from './fleet.ts';
import type { Host } from './host.ts';
import { lacks, show } from './ledger.ts';
import type { SeededRandom } from './random.ts';

/** A step of a schedule; the seed decides which comes next. */
export type Step = (fleet: Fleet) => Promise<void> | void;

const MAX_SKEW_MS = 5_000;

/** A value, or a deletion. */
function register(timestampNs: bigint, text: string | undefined): Register {
  return {
    timestampNs,
    value: text === undefined ? new Uint8Array(0) : Buffer.from(text, 'latin1'),
    deleted: text === undefined,
  };
}

/**
 * Commits writes of the application in one transaction. Also one that loses is what the host holds from then on,
 * unless its agent has seen what it replaces (`seen`): then that must come back.
 */
function commit(
  fleet: Fleet,
  host: Host,
  registers: ReadonlyMap<string, Register>,
  seen = false,
): void {
  const before = host.dump();
  host.commit(registers);
  for (const [key, register] of registers) {
    const known = before.get(key);
    const loses = known !== undefined && !lacks(new Map([[key, known]]), key, register);
    if (!loses || !seen) host.committed.set(key, register);
    fleet.log(
      `${host.label} writes ${key} ${show(register)}${loses ? ` (loses against ${show(known)}${seen ? ', seen' : ''})` : ''}`,
    );
  }
  if (fleet.random.chance(0.8)) host.tellChange();
}

function write(fleet: Fleet): void {
  const { random } = fleet;
  const host = random.pick(fleet.hosts);
  const registers = new Map<string, Register>();
  const count = random.pick([1, 1, 1, 2, 10]);
  for (let at = 0; at < count; at += 1) {
    const text = random.chance(0.05) ? 'x'.repeat(6000) : `${host.label}${random.below(1000)}`;
    const isDelete = random.chance(0.25);
    registers.set(
      random.pick(fleet.traits.keys),
      register(host.clock.nowNs(), isDelete ? undefined : text),
    );
  }
  commit(fleet, host, registers);
}

/** The same time as an entry somewhere else has: the value decides. */
function writeTie(fleet: Fleet): void {
  const host = fleet.random.pick(fleet.hosts);
  const stored = [...fleet.ledger.winners];
  if (stored.length === 0) return;
  const [key, { timestampNs }] = fleet.random.pick(stored);
  const text = fleet.random.pick([undefined, '', 'tie', 'a']);
  commit(fleet, host, new Map([[key, register(timestampNs, text)]]));
}

/** The application's clock is behind: what it writes loses against what is there. */
async function writeLoser(fleet: Fleet): Promise<void> {
  const host = fleet.random.pick(fleet.hosts);
  // Seen by the agent first, the winner must come back; else the application has simply replaced it.
  const seen = host.run !== undefined && fleet.random.chance(0.6);
  if (seen) await host.run?.detect();
  const entries = [...host.dump()];
  if (entries.length === 0) return;
  if (seen) host.mustLook = true;
  const [key, { timestampNs }] = fleet.random.pick(entries);
  const behind = BigInt(1 + fleet.random.below(20_000_000));
  commit(fleet, host, new Map([[key, register(timestampNs - behind, 'loser')]]), seen);
}

/** The application removes a key, or drops a DBI, without leaving tombstones, while an agent watches. */
async function removeKey(fleet: Fleet): Promise<void> {
  const host = fleet.random.pick(fleet.hosts);
  if (host.run === undefined) return;
  await host.run.detect();
  const entries = [...host.dump()];
  if (entries.length === 0 || host.run === undefined) return;
  const [key] = fleet.random.pick(entries);
  host.mustLook = true;
  if (fleet.random.chance(0.2)) host.dropDbi(key);
  else host.remove(key);
  fleet.log(`${host.label} removes ${key} without a tombstone, or its whole DBI`);
  if (fleet.random.chance(0.8)) host.tellChange();
}

function startAgent(fleet: Fleet): void {
  const host = fleet.random.pick(fleet.hosts);
  if (host.isUp) return;
  const run = fleet.start(host);
  fleet.log(`${host.label} starts as ${host.instance}.${run.settings.run}`);
}

async function stopAgent(fleet: Fleet): Promise<void> {
  const host = fleet.random.pick(fleet.hosts);
  if (!host.isUp) return;
  fleet.log(`${host.label} stops`);
  await fleet.stop(host);
}

async function crashAgent(fleet: Fleet): Promise<void> {
  const host = fleet.random.pick(fleet.hosts);
  if (!host.isUp) return;
  fleet.log(`${host.label} crashes`);
  await fleet.crash(host);
}

async function deliverNotices(fleet: Fleet): Promise<void> {
  const { random } = fleet;
  const host = random.pick(fleet.hosts);
  const names = await fleet.bucket.names();
  if (names.length === 0) return;
  const chosen = Array.from({ length: 1 + random.below(4) }, () => random.pick(names));
  host.run?.engine.noteNames(chosen);
  fleet.log(`${host.label} gets ${chosen.length} notices`);
}

/** Notices of the newest objects, to everybody: what mostly happens. */
async function deliverNewest(fleet: Fleet): Promise<void> {
  const names = [...fleet.ledger.objects.keys()].slice(-3);
  for (const host of fleet.hosts) host.run?.engine.noteNames(names);
  fleet.log('all get notices of the newest objects');
}

function wantListing(fleet: Fleet): void {
  const host = fleet.random.pick(fleet.hosts);
  host.run?.engine.noteListing();
  fleet.log(`${host.label} lists`);
}

async function wipe(fleet: Fleet): Promise<void> {
  const host = fleet.random.pick(fleet.hosts);
  if (host.isUp) return;
  await host.replace(undefined);
  fleet.log(`${host.label} is wiped`);
}

function backup(fleet: Fleet): void {
  const host = fleet.random.pick(fleet.hosts);
  if (host.mustLook) return;
  host.saveBackup();
  fleet.log(`${host.label} is backed up`);
}

async function restore(fleet: Fleet): Promise<void> {
  const host = fleet.random.pick(fleet.hosts);
  if (host.isUp || host.backup === undefined) return;
  await host.replace(host.backup);
  fleet.log(`${host.label} is restored`);
}

async function clone(fleet: Fleet): Promise<void> {
  const { random } = fleet;
  const [from, to] = [random.pick(fleet.hosts), random.pick(fleet.hosts)];
  if (from === to || to.isUp || from.mustLook) return;
  from.saveBackup();
  await to.replace(from.backup);
  fleet.log(`${to.label} becomes a copy of ${from.label}`);
}

function skew(fleet: Fleet): void {
  const host = fleet.random.pick(fleet.hosts);
  host.clock.skewMs = fleet.random.pick([0, MAX_SKEW_MS, -MAX_SKEW_MS, 50, -50]);
  fleet.log(`${host.label} clock ${host.clock.skewMs} ms`);
}

async function landLate(fleet: Fleet): Promise<void> {
  const landed = await fleet.store.landLate();
  if (landed > 0) fleet.log(`${landed} hung requests land`);
}

/** Mostly what is new: the rest has been read by everybody. */
async function damage(fleet: Fleet): Promise<void> {
  const { random, bucket, ledger } = fleet;
  const newest = [...ledger.objects.keys()].slice(-2);
  const all = (await bucket.names()).filter((name) => name.endsWith('.pb.gz'));
  const names = random.chance(0.7) ? newest : all;
  if (names.length === 0 || !fleet.traits.damages) return;
  const name = random.pick(names);
  await bucket.damage(name, (bound) => random.below(bound));
  fleet.log(`damaged: ${name}`);
}

async function repair(fleet: Fleet): Promise<void> {
  await fleet.bucket.repairAll();
}

function startCompaction(fleet: Fleet): void {
  if (fleet.traits.compaction === undefined) return;
  fleet.log('a compaction begins');
  fleet.startCompaction();
}

async function killCompaction(fleet: Fleet): Promise<void> {
  await fleet.stopCompactions();
}

function advance(fleet: Fleet): void {
  fleet.clock.advanceMs(fleet.random.pick([1, 20, 100]));
}

const STEPS = {
  write: [30, write],
  writeTie: [2, writeTie],
  writeLoser: [3, writeLoser],
  removeKey: [2, removeKey],
  startAgent: [12, startAgent],
  stopAgent: [3, stopAgent],
  crashAgent: [3, crashAgent],
  deliverNotices: [5, deliverNotices],
  deliverNewest: [10, deliverNewest],
  wantListing: [6, wantListing],
  wipe: [2, wipe],
  backup: [2, backup],
  restore: [2, restore],
  clone: [1, clone],
  skew: [2, skew],
  landLate: [3, landLate],
  damage: [5, damage],
  repair: [2, repair],
  startCompaction: [4, startCompaction],
  killCompaction: [1, killCompaction],
  advance: [6, advance],
} as const satisfies Record<string, readonly [weight: number, step: Step]>;

export type Weights = Readonly<Record<keyof typeof STEPS, number>>;

/** Every schedule leaves out some kinds of steps and takes others more often: that reaches more than one mean does. */
export function drawWeights(random: SeededRandom): Weights {
  const weights = Object.entries(STEPS).map(([name, [weight]]) => {
    const factor = name === 'write' || name === 'startAgent' ? 1 : random.pick([0, 1, 1, 1, 4]);
    return [name, weight * factor] as const;
  });
  return Object.fromEntries(weights) as Weights;
}

/** Picks and takes the next step, then lets the world go on for a while. */
export async function takeStep(fleet: Fleet, weights: Weights): Promise<void> {
  const name = fleet.random.weighted(weights);
  await STEPS[name][1](fleet);
  const turns = fleet.random.pick([0, 0, 2, 10, 40]);
  await fleet.turns(turns);
}
