import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { VectorTracker } from '../agent/engine/vector-tracker.ts';
import type { LocalDatabase, MergeRequest } from '../agent/lmdb/local-database.ts';
import { DirectLocalDatabase } from '../agent/lmdb/thread/direct-database.ts';
import { systemClock } from '../agent/pacing/system-clock.ts';
import { streamOf } from '../protocol/object-name.ts';
import { Application, databaseOptions, objectBytes, scratchFolder } from '../test/support/lmdb.ts';
import type { Row } from './support/row.ts';
import { median } from './support/statistics.ts';

const STREAMS = [0, 1000, 10_000, 50_000];
const ROUNDS = 40;
const WARM_UP = 10;
const LIVE = streamOf('live', 'run');

/**
 * What one merge of one entry costs where an LMDB knows the streams of many starts. With the engine's bookkeeping, and
 * with what the request costs on its way to the LMDB's thread. In memory, where a commit waits for no disk.
 */
export async function run(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const streams of STREAMS) {
    const folder = scratchFolder();
    try {
      rows.push(...(await measure(folder, streams)));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  return rows;
}

async function measure(folder: string, streams: number): Promise<Row[]> {
  const file = join(folder, 'test.mdb');
  const application = new Application(file);
  const db = new DirectLocalDatabase(databaseOptions(file, {}), systemClock);
  const tracker = new VectorTracker((await db.open()).vector);
  for (let i = 0; i < streams; i += 1) {
    tracker.acknowledgeOwn(streamOf(`host${i % 100}`, `run${i}`), 7n);
  }
  const known = tracker.change;
  await db.persist(known);
  tracker.noteSent(known);
  const cpuMs: number[] = [];
  const lockMs: number[] = [];
  for (let round = 1; round <= WARM_UP + ROUNDS; round += 1) {
    const sample = await mergeOne(db, tracker, round);
    if (round > WARM_UP) {
      cpuMs.push(sample.cpuMs);
      lockMs.push(sample.lockMs);
    }
  }
  await db.close();
  await application.close();
  const of = `${streams.toLocaleString('en')} streams known`;
  return [
    row(`1 change merged, CPU, ${of}`, median(cpuMs), 2),
    row(`1 change merged, lock, ${of}`, median(lockMs), 1),
  ];
}

async function mergeOne(
  db: LocalDatabase,
  tracker: VectorTracker,
  round: number,
): Promise<{ cpuMs: number; lockMs: number }> {
  const entries = { [`key${round}`]: { value: `${round}`, ts: round } };
  const bytes = objectBytes({ zones: { entries } });
  const absorbed = { stream: LIVE, seq: BigInt(round) };
  const cpu = process.cpuUsage();
  const change = tracker.preview([absorbed]);
  const request: MergeRequest = structuredClone({
    name: 'one',
    spool: { kind: 'memory', bytes },
    vector: change.vector,
  });
  const { lockHeldMaxMs } = await db.merge(request);
  tracker.absorb([absorbed]);
  tracker.noteSent(change);
  const { user, system } = process.cpuUsage(cpu);
  return { cpuMs: (user + system) / 1000, lockMs: lockHeldMaxMs };
}

function row(name: string, value: number, target: number): Row {
  return { name, value: Number(value.toPrecision(3)), unit: 'ms', target };
}
