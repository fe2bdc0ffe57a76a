import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGzip, gzipSync } from 'node:zlib';
import { Readable } from 'node:stream';
import { formatObjectName, streamOf } from '../protocol/object-name.ts';
import { EMPTY_META, entryView, type EntryView, type SnapshotMeta } from '../protocol/snapshot.ts';
import { SnapshotWriter } from '../protocol/snapshot-writer.ts';
import { bytesBody } from '../storage/bodies.ts';
import { openFilesystemStore } from '../storage/folder/store.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { CompactOnceAnswer, CompactOnceRequest } from './support/compact-once.ts';
import { compactOnce } from './support/compaction.ts';
import type { BenchOptions, Row } from './support/row.ts';
import { medianOf } from './support/statistics.ts';

const RUNS = 3;
const DELTAS = 1000;
const RECORDS_PER_DELTA = 5;
const SIGNAL = new AbortController().signal;
const START_NS = 1_700_000_000_000_000_000n;

/**
 * Folding 1,000 deltas into a base of many records, in a process of its own, bucket in a folder: the base written anew,
 * which costs the most, and the level-1 delta that a run usually writes.
 */
export async function run(options: BenchOptions): Promise<Row[]> {
  const folder = await mkdtemp(join(tmpdir(), 'lightningstream-bench-'));
  try {
    const filled = join(folder, 'filled');
    await fillBucket(filled, options.records);
    await published(folder, { bucket: filled, policy: {} });
    await addDeltas(filled, options.records);
    const base = await medianOf(RUNS, () => onCopy(folder, { baseDueRatio: 0 }));
    const level1 = await medianOf(RUNS, () => onCopy(folder, { baseDueRatio: 1000 }));
    const size = `${DELTAS} deltas, ${options.records.toLocaleString('en')} records`;
    return [
      { name: `compaction, base, ${size}`, value: base.wallMs, unit: 'ms', target: 5000 },
      { name: `compaction, base, memory, ${size}`, value: base.memoryMb, unit: 'MB', target: 300 },
      { name: `compaction, level 1, ${size}`, value: level1.wallMs, unit: 'ms', target: 5000 },
      {
        name: `compaction, level 1, memory, ${size}`,
        value: level1.memoryMb,
        unit: 'MB',
        target: 300,
      },
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function onCopy(folder: string, policy: CompactOnceRequest['policy']) {
  const bucket = join(folder, 'copy');
  await cp(join(folder, 'filled'), bucket, { recursive: true });
  const { wallMs, memoryMb, foldedObjects } = await published(folder, { bucket, policy });
  if (foldedObjects !== DELTAS) {
    throw new Error(`${foldedObjects} objects were folded, expected ${DELTAS}`);
  }
  await rm(bucket, { recursive: true });
  return { wallMs, memoryMb };
}

async function published(
  folder: string,
  { bucket, policy }: Pick<CompactOnceRequest, 'bucket' | 'policy'>,
): Promise<CompactOnceAnswer> {
  const answer = await compactOnce({ bucket, scratch: join(folder, 'scratch'), policy });
  if (answer.outcome !== 'published') {
    throw new Error(`the compaction ended with: ${answer.outcome}`);
  }
  return answer;
}

/** A full snapshot of one instance: keys of 16 bytes, values of 20, as in the other benchmarks. */
async function fillBucket(path: string, records: number): Promise<void> {
  const store = await openFilesystemStore({ rootPath: path });
  const gzip = createGzip({ level: 1 });
  const chunks: Uint8Array[] = [];
  const done = (async () => {
    for await (const chunk of gzip) {
      chunks.push(chunk as Uint8Array);
    }
  })();
  const blocks: Uint8Array[] = [];
  const writer = new SnapshotWriter((block) => blocks.push(block));
  writer.begin(metaOf(1n, true));
  writer.beginDbi({ name: 'records', flags: 0, transform: '' });
  for (let i = 0; i < records; i++) {
    writer.entry(record(i, START_NS));
  }
  writer.endDbi();
  writer.end();
  Readable.from(blocks).pipe(gzip);
  await done;
  await store.create(nameOf(1n, 'snapshot'), bytesBody(Buffer.concat(chunks)), SIGNAL);
}

async function addDeltas(path: string, records: number): Promise<void> {
  const store = await openFilesystemStore({ rootPath: path });
  for (let delta = 0; delta < DELTAS; delta++) {
    await addDelta(store, BigInt(delta) + 2n, records);
  }
}

async function addDelta(store: ObjectStore, seq: bigint, records: number): Promise<void> {
  const chunks: Uint8Array[] = [];
  const writer = new SnapshotWriter((chunk) => chunks.push(chunk));
  writer.begin(metaOf(seq, false));
  writer.beginDbi({ name: 'records', flags: 0, transform: '' });
  const first = (Number(seq) * 7919) % Math.max(records - RECORDS_PER_DELTA, 1);
  for (let i = 0; i < RECORDS_PER_DELTA; i++) {
    writer.entry(record(first + i, START_NS + seq));
  }
  writer.endDbi();
  writer.end();
  const bytes = gzipSync(Buffer.concat(chunks), { level: 1 });
  await store.create(nameOf(seq, 'delta'), bytesBody(bytes), SIGNAL);
}

function record(number: number, timestampNs: bigint): EntryView {
  return entryView({
    key: Buffer.from(`record-${String(number).padStart(9, '0')}`),
    value: Buffer.from(`value-${String((number * 7_919) % 99_999_989).padStart(14, '0')}`),
    timestampNs: timestampNs + BigInt(number % 1000),
    deleted: false,
  });
}

function metaOf(seq: bigint, full: boolean): SnapshotMeta {
  const vector = full ? new Map([[streamOf('a', 'run'), seq]]) : undefined;
  return { ...EMPTY_META, databaseName: 'main', instance: 'a', run: 'run', seq, vector };
}

function nameOf(seq: bigint, kind: 'snapshot' | 'delta'): string {
  return formatObjectName({
    database: 'main',
    instance: 'a',
    timeNs: START_NS + seq * 1_000_000n,
    run: 'run',
    seq,
    kind,
  });
}
