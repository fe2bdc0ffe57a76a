import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Environment } from '../agent/lmdb/environment.ts';
import type { LocalDatabase } from '../agent/lmdb/local-database.ts';
import { discardSpool } from '../agent/spool.ts';
import { systemClock } from '../agent/pacing/system-clock.ts';
import { objectSpool, scratchFolder } from '../test/support/lmdb.ts';
import { PlainApplication, shadowDatabase } from '../test/support/shadow.ts';
import type { BenchOptions, Row } from './support/row.ts';
import { median } from './support/statistics.ts';

const ROUNDS = 40;
const VALUE_BYTES = 20;
const BYTES_PER_RECORD = 500;
const DBI = 'records';
const MAX_LOCK_HOLD_MS = 250;

/**
 * Shadow mode on an LMDB of records of 20 bytes: what a first start, a start, one local change and one merged change
 * cost. CPU time is that of the whole process. In memory, where a commit waits for no disk, and one local change on
 * the disk of this machine, where its fsync is most of the lock.
 */
export async function run({ records }: BenchOptions): Promise<Row[]> {
  const rows: Row[] = [];
  const inMemory = scratchFolder();
  const onDisk = await mkdtemp(join(tmpdir(), 'lightningstream-bench-'));
  try {
    rows.push(...(await measure(inMemory, records)));
    rows.push(...(await measureDisk(onDisk, records)));
  } finally {
    await rm(inMemory, { recursive: true, force: true });
    await rm(onDisk, { recursive: true, force: true });
  }
  return rows;
}

async function measure(folder: string, records: number): Promise<Row[]> {
  const host = openHost(folder, records);
  const of = `${records.toLocaleString('en')} records`;
  const held: number[] = [];
  const restore = recordLocks(held);
  const first = database(host.file, host.mapSize);
  const firstStart = await timed(() => first.open());
  const longestMs = Math.max(...held);
  await send(first, 'snapshot');
  await first.persist({ vector: new Map(), entriesAtStop: true });
  await first.close();
  const db = database(host.file, host.mapSize);
  const start = await timed(() => db.open());
  const local = await localChanges(db, host.application, held);
  const merged = await mergedChanges(db, held);
  restore();
  await db.close();
  await host.application.close();
  return [
    row(`shadow: first start, ${of}`, firstStart.wallMs),
    row(`shadow: first start, longest lock, ${of}`, longestMs, MAX_LOCK_HOLD_MS),
    row(`shadow: start, both sides compared, ${of}`, start.wallMs),
    row(`shadow: 1 local change stamped and encoded, CPU, ${of}`, local.cpuMs, 5),
    row(`shadow: 1 local change, lock, ${of}`, local.lockMs, 2),
    row(`shadow: 1 change merged, CPU, ${of}`, merged.cpuMs, 5),
    row(`shadow: 1 change merged, lock, ${of}`, merged.lockMs, 2),
  ];
}

async function measureDisk(folder: string, records: number): Promise<Row[]> {
  const of = `${records.toLocaleString('en')} records`;
  const host = openHost(folder, records);
  const held: number[] = [];
  const db = database(host.file, host.mapSize);
  await db.open();
  await send(db, 'snapshot');
  const restore = recordLocks(held);
  const local = await localChanges(db, host.application, held);
  restore();
  await db.close();
  await host.application.close();
  return [row(`shadow: 1 local change, lock with the commit's fsync, ${of}`, local.lockMs)];
}

function openHost(
  folder: string,
  records: number,
): { application: PlainApplication; file: string; mapSize: number } {
  const file = join(folder, 'filled.mdb');
  const mapSize = Math.max(256 * 1024 ** 2, records * BYTES_PER_RECORD);
  const application = new PlainApplication(file, { mapSize });
  application.write((txn) => {
    for (let i = 0; i < records; i += 1) {
      txn.put(DBI, keyOf(i), Buffer.alloc(VALUE_BYTES, i));
    }
  });
  return { application, file, mapSize };
}

/** `host-<random looking>.example.org`, so that neighbours are not written one after the other. */
function keyOf(i: number): string {
  return `host-${((i * 2_654_435_761) % 2 ** 32).toString(36)}.example.org`;
}

function database(file: string, mapSizeBytes: number): LocalDatabase {
  const maxLockHoldMs = MAX_LOCK_HOLD_MS;
  return shadowDatabase(file, { clock: systemClock, mapSizeBytes, maxLockHoldMs });
}

type Cost = { readonly cpuMs: number; readonly lockMs: number };

/** One change of the application at a time, each found, stamped and encoded. */
async function localChanges(
  db: LocalDatabase,
  application: PlainApplication,
  held: number[],
): Promise<Cost> {
  return rounds(held, async (round) => {
    application.put(DBI, keyOf(round * 37), Buffer.from(`changed ${round}`));
    return () => send(db, 'delta');
  });
}

async function mergedChanges(db: LocalDatabase, held: number[]): Promise<Cost> {
  return rounds(held, async (round) => {
    const ts = systemClock.nowNs();
    const entries = { [keyOf(round * 41)]: { value: `merged ${round}`, ts } };
    const spool = objectSpool({ [DBI]: { entries } });
    return () => db.merge({ name: 'remote', spool, vector: new Map() });
  });
}

async function rounds(
  held: number[],
  prepare: (round: number) => Promise<() => Promise<unknown>>,
): Promise<Cost> {
  const cpu: number[] = [];
  const locks: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const work = await prepare(round);
    held.length = 0;
    cpu.push((await timed(work)).cpuMs);
    locks.push(Math.max(...held));
  }
  return { cpuMs: median(cpu), lockMs: median(locks) };
}

async function send(db: LocalDatabase, kind: 'delta' | 'snapshot'): Promise<void> {
  const options = { seq: 1n, timeNs: systemClock.nowNs() };
  const { object } =
    kind === 'delta' ? await db.encodeDelta(options) : await db.encodeSnapshot(options);
  if (object === undefined) {
    throw new Error(`there was no ${kind} to send`);
  }
  await discardSpool(object.spool);
  await db.acknowledge(object.token);
}

type WriteMethod = (this: Environment, work: unknown) => { readonly lockHeldMs: number };

/** Every write transaction's hold of the lock goes into `held`, until the returned function is called. */
function recordLocks(held: number[]): () => void {
  const original = Reflect.get(Environment.prototype, 'write') as WriteMethod;
  const recording: WriteMethod = function write(work) {
    const outcome = original.call(this, work);
    held.push(outcome.lockHeldMs);
    return outcome;
  };
  Reflect.set(Environment.prototype, 'write', recording);
  return () => {
    Reflect.set(Environment.prototype, 'write', original);
  };
}

async function timed(work: () => Promise<unknown>): Promise<{ wallMs: number; cpuMs: number }> {
  const before = process.cpuUsage();
  const startedMs = performance.now();
  await work();
  const wallMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(before);
  return { wallMs, cpuMs: (user + system) / 1000 };
}

function row(name: string, value: number, target?: number): Row {
  return { name, value, unit: 'ms', target };
}
