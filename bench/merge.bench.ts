import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DirectLocalDatabase } from '../agent/lmdb/thread/direct-database.ts';
import type { EncodedObject, LocalDatabase } from '../agent/lmdb/local-database.ts';
import { discardSpool, readSpool, type Spool } from '../agent/spool.ts';
import { systemClock } from '../agent/pacing/system-clock.ts';
import { Application, databaseOptions, objectBytes, scratchFolder } from '../test/support/lmdb.ts';
import type { BenchOptions, Row } from './support/row.ts';
import { median } from './support/statistics.ts';

const ROUNDS = 5;
const SMALL_ROUNDS = 40;
const STAMP_NS = 1_700_000_000_000_000_000n;
const BYTES_PER_RECORD = 300;
const DBI = 'records_v5';
const MAX_LOCK_HOLD_MS = 250;
/** Above this many records the LMDB lies on disk, and its latency is part of every lock. */
const LARGEST_IN_MEMORY = 2_000_000;

/**
 * One LMDB of records of 44 bytes (20 of them the application's) in this process: what a start, a full snapshot, its
 * merge and a delta of one entry cost. CPU time is that of all threads, compression included. The file lies in memory
 * where there is a file system for that: what a disk adds to a commit is not ours to measure.
 */
export async function run({ records }: BenchOptions): Promise<Row[]> {
  const isSmall = records <= LARGEST_IN_MEMORY;
  const folder = isSmall
    ? scratchFolder()
    : await mkdtemp(join(tmpdir(), 'lightningstream-bench-'));
  try {
    return await measure(folder, records);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function measure(folder: string, records: number): Promise<Row[]> {
  const mapSize = Math.max(256 * 1024 ** 2, records * BYTES_PER_RECORD);
  const file = join(folder, 'filled.mdb');
  const application = new Application(file, { mapSize });
  fill(application, records);
  const size = `${records.toLocaleString('en')} records`;
  const budget = (ms: number) => (ms * records) / 1_000_000;

  const db = database(file, mapSize);
  const opened = await timed(() => db.open());
  const encodes: Measured[] = [];
  let snapshot: Spool | undefined;
  for (let round = 1; round <= ROUNDS; round += 1) {
    if (snapshot !== undefined) {
      await discardSpool(snapshot);
    }
    const encoded = await timed(() => encode(db, round));
    encodes.push(encoded);
    snapshot = await inMemory(encoded.result.spool);
    await db.acknowledge(encoded.result.token);
  }
  if (snapshot === undefined) {
    throw new Error('no round was made');
  }

  const merges = await mergeWithOneDifference(db, snapshot);
  const deltas = await deltasOfOneEntry(db, application);
  const received = await mergesOfOneEntry(db);
  await db.close();
  await application.close();
  const fresh = await everythingNew({ folder, mapSize, snapshot });
  return [
    row(`start with a scan, ${size}`, opened.wallMs, 'ms'),
    row(`full snapshot, ${size}`, medianOf(encodes, 'wallMs'), 'ms', budget(350)),
    row(`full snapshot, CPU, ${size}`, medianOf(encodes, 'cpuMs'), 'ms'),
    row(`merge in place, 1 difference, ${size}`, medianOf(merges, 'wallMs'), 'ms'),
    row(`merge in place, 1 difference, CPU, ${size}`, medianOf(merges, 'cpuMs'), 'ms', budget(550)),
    row(`merge in place, 1 difference, lock, ${size}`, medianOf(merges, 'lockMs'), 'ms', 1),
    row(`merge in place, everything new, CPU, ${size}`, fresh.cpuMs, 'ms'),
    row(
      `merge in place, everything new, longest lock, ${size}`,
      fresh.lockMs,
      'ms',
      MAX_LOCK_HOLD_MS,
    ),
    row(`1 change found and encoded, ${size}`, medianOf(deltas, 'wallMs'), 'ms', 2),
    row(`1 change merged, CPU, ${size}`, medianOf(received, 'cpuMs'), 'ms', 2),
    row(`1 change merged, lock, ${size}`, medianOf(received, 'lockMs'), 'ms'),
  ];
}

type Measured = { readonly wallMs: number; readonly cpuMs: number; readonly lockMs: number };

async function timed<T>(work: () => Promise<T>): Promise<Measured & { result: T }> {
  const cpu = process.cpuUsage();
  const startedMs = performance.now();
  const result = await work();
  const wallMs = performance.now() - startedMs;
  const { user, system } = process.cpuUsage(cpu);
  return { result, wallMs, cpuMs: (user + system) / 1000, lockMs: 0 };
}

function medianOf(samples: readonly Measured[], field: keyof Measured): number {
  return median(samples.map((sample) => sample[field]));
}

function row(name: string, value: number, unit: string, target?: number): Row {
  const rounded = Number(value.toPrecision(3));
  return target === undefined
    ? { name, value: rounded, unit }
    : { name, value: rounded, unit, target };
}

function database(file: string, mapSizeBytes: number): LocalDatabase {
  const options = databaseOptions(file, { mapSizeBytes, maxLockHoldMs: MAX_LOCK_HOLD_MS });
  return new DirectLocalDatabase(options, systemClock);
}

function fill(application: Application, records: number): void {
  const value = Buffer.alloc(20, 'application value ');
  const step = 100_000;
  for (let from = 0; from < records; from += step) {
    application.write((txn) => {
      for (let i = from; i < Math.min(records, from + step); i += 1) {
        txn.put(DBI, recordKey(i), { value, ts: STAMP_NS });
      }
    });
  }
}

function recordKey(index: number): Buffer {
  return Buffer.from(index.toString(36).padStart(20, '0'));
}

async function encode(db: LocalDatabase, seq: number): Promise<EncodedObject> {
  const { object } = await db.encodeSnapshot({ seq: BigInt(seq), timeNs: BigInt(seq) });
  if (object === undefined) {
    throw new Error('there is nothing to send');
  }
  return object;
}

async function inMemory(spool: Spool): Promise<Spool> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of readSpool(spool)) {
    chunks.push(chunk);
  }
  await discardSpool(spool);
  return { kind: 'memory', bytes: Buffer.concat(chunks) };
}

async function mergeWithOneDifference(db: LocalDatabase, snapshot: Spool): Promise<Measured[]> {
  const samples: Measured[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    const spool = await withOneNewer(snapshot, round);
    const { result, ...sample } = await timed(() =>
      db.merge({ name: 'full', spool, vector: new Map() }),
    );
    if (result.changed !== 1) {
      throw new Error(`${result.changed} entries differed`);
    }
    samples.push({ ...sample, lockMs: result.lockHeldMaxMs });
  }
  return samples;
}

/** The snapshot, and behind it one more entry, as another member of the gzip file. */
async function withOneNewer(snapshot: Spool, round: number): Promise<Spool> {
  const one = objectBytes({
    [DBI]: {
      entries: { [recordKey(7).toString()]: { value: `${round}`, ts: STAMP_NS + BigInt(round) } },
    },
  });
  const chunks: Uint8Array[] = [];
  for await (const chunk of readSpool(snapshot)) {
    chunks.push(chunk);
  }
  return { kind: 'memory', bytes: Buffer.concat([...chunks, one]) };
}

async function deltasOfOneEntry(db: LocalDatabase, application: Application): Promise<Measured[]> {
  const samples: Measured[] = [];
  for (let i = 1; i <= SMALL_ROUNDS; i += 1) {
    application.put(DBI, recordKey(i * 1000), { value: `local ${i}`, ts: STAMP_NS + 1000n });
    const { result, ...sample } = await timed(() =>
      db.encodeDelta({ seq: BigInt(100 + i), timeNs: BigInt(i) }),
    );
    if (result.object?.entries !== 1) {
      throw new Error('one change was not one entry');
    }
    await db.acknowledge(result.object.token);
    samples.push(sample);
  }
  return samples;
}

async function mergesOfOneEntry(db: LocalDatabase): Promise<Measured[]> {
  const samples: Measured[] = [];
  for (let i = 1; i <= SMALL_ROUNDS; i += 1) {
    const key = recordKey(i * 1500).toString();
    const bytes = objectBytes({
      [DBI]: { entries: { [key]: { value: `remote ${i}`, ts: STAMP_NS + 2000n } } },
    });
    const { result, ...sample } = await timed(() =>
      db.merge({ name: 'one', spool: { kind: 'memory', bytes }, vector: new Map() }),
    );
    samples.push({ ...sample, lockMs: result.lockHeldMaxMs });
  }
  return samples;
}

async function everythingNew(parts: {
  folder: string;
  mapSize: number;
  snapshot: Spool;
}): Promise<Measured> {
  const db = database(join(parts.folder, 'empty.mdb'), parts.mapSize);
  await db.open();
  const { result, ...sample } = await timed(() =>
    db.merge({ name: 'full', spool: parts.snapshot, vector: new Map() }),
  );
  await db.close();
  return { ...sample, lockMs: result.lockHeldMaxMs };
}
