import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { formatObjectName } from '../protocol/object-name.ts';
import { EMPTY_META, entryView } from '../protocol/snapshot.ts';
import { SnapshotWriter } from '../protocol/snapshot-writer.ts';
import { BenchHosts } from './support/bench-host.ts';
import { compactAll } from './support/compaction.ts';
import { ProcessMeter } from './support/process-meter.ts';
import type { Row } from './support/row.ts';

const OBJECTS = 100_000;
const INSTANCES = 100;
/** Half as many as there are changes: most are replaced once. */
const KEYS = 50_000;
const START_NS = 1_700_000_000_000_000_000n;
const TIMEOUT_MS = 600_000;

/**
 * A bucket in which nobody has ever cleaned up: 100,000 deltas of 100 instances, in a folder. What a host without data
 * takes to read it, one with data to find that there is nothing new, and the compactor to fold it.
 */
export async function run(): Promise<Row[]> {
  const hosts = await BenchHosts.open(1);
  const scratch = await mkdtemp(join(tmpdir(), 'lightningstream-bench-'));
  try {
    const bucket = join(hosts.folder, 'full-bucket');
    await fill(bucket);
    await hosts.application('fresh', 'empty');
    const first = await start(hosts, bucket);
    const again = await start(hosts, bucket);
    const folding = await compactAll({ bucket, scratch, policy: {} });
    const after = await start(hosts, bucket);
    const of = `bucket of ${OBJECTS.toLocaleString('en')} objects`;
    return [
      { name: `${of}: first start of a host`, value: first.wallMs, unit: 'ms' },
      { name: `${of}: first start, memory`, value: first.memoryMb, unit: 'MB', target: 150 },
      { name: `${of}: start of one in step`, value: again.wallMs, unit: 'ms' },
      { name: `${of}: folded by the compactor`, value: folding.wallMs, unit: 'ms' },
      { name: `${of}: runs of the compactor for it`, value: folding.runs, unit: '' },
      { name: `${of}: folded, memory`, value: folding.memoryMb, unit: 'MB', target: 300 },
      { name: `${of}: start of one in step, afterwards`, value: after.wallMs, unit: 'ms' },
    ];
  } finally {
    await hosts.close();
    await rm(scratch, { recursive: true, force: true });
  }
}

async function start(hosts: BenchHosts, bucket: string) {
  const startMs = performance.now();
  const agent = await hosts.start('fresh', { bucket });
  using meter = new ProcessMeter(agent.pid);
  await agent.ready(TIMEOUT_MS);
  const result = { wallMs: performance.now() - startMs, memoryMb: meter.peakMemoryMb };
  await agent.stop();
  return result;
}

/** Written past the store, which would wait for the disk a hundred thousand times. */
async function fill(bucket: string): Promise<void> {
  await mkdir(bucket);
  for (let i = 0; i < OBJECTS; i += 1) {
    const name = nameOf(i);
    await writeFile(join(bucket, formatObjectName(name)), delta(i, name));
  }
}

type Name = Parameters<typeof formatObjectName>[0];

function nameOf(index: number): Name {
  const instance = `host-${index % INSTANCES}`;
  const seq = BigInt(Math.floor(index / INSTANCES)) + 1n;
  const timeNs = START_NS + BigInt(index) * 1_000_000n;
  return { database: 'main', instance, timeNs, run: `run${index % INSTANCES}`, seq, kind: 'delta' };
}

function delta(index: number, { instance, run: runId, seq, timeNs }: Name): Buffer {
  const chunks: Uint8Array[] = [];
  const writer = new SnapshotWriter((chunk) => chunks.push(chunk), { blockBytes: 1024 });
  writer.begin({ ...EMPTY_META, databaseName: 'main', instance, run: runId, seq });
  writer.beginDbi({ name: 'records', flags: 0, transform: '' });
  writer.entry(
    entryView({
      key: Buffer.from(`record-${(index * 7919) % KEYS}`),
      value: Buffer.from(`value ${index}`),
      timestampNs: timeNs,
      deleted: false,
    }),
  );
  writer.endDbi();
  writer.end();
  return gzipSync(Buffer.concat(chunks), { level: 1 });
}
