import { copyFile, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Application } from '../demo/application.ts';
import { BenchHosts, recordKey } from './support/bench-host.ts';
import { compactAll } from './support/compaction.ts';
import { storeOnce } from './support/only-once.ts';
import { receiveOnce, type ReceiveCost } from './support/receive-once.ts';
import type { BenchOptions, Row } from './support/row.ts';
import { medianOf } from './support/statistics.ts';

const RECORDS = 100_000;
const INSTANCES = 20;
/** Each instance has written one record of so many itself; 1 % of its own differ from everybody else's. */
const STEP = 100;
const RUNS = 3;
/** Of what one instance alone costs. */
const TARGET_RATIO = 1.3;

/**
 * A host with an empty LMDB and a bucket that 20 instances of 100,000 records have written, 1 % of them different in
 * each: what it costs once the compactor has been there, and before, against a bucket of one instance.
 */
export async function run(options: BenchOptions): Promise<Row[]> {
  const hosts = await BenchHosts.open(RECORDS);
  try {
    const buckets = await fillBuckets(hosts);
    const measure = (bucket: string, instances: number, peer?: string) =>
      medianOf(RUNS, () =>
        receiveOnce(hosts, {
          bucket,
          content: 'empty',
          peer,
          isComplete: (reader) => hasAllOf(reader, instances),
        }),
      );
    const one = await measure(buckets.one, 1);
    const many = await measure(buckets.many, INSTANCES);
    const { peer: program } = options;
    const peer =
      program === undefined ? undefined : await measure(buckets.many, INSTANCES, program);
    await compactAll({
      bucket: buckets.many,
      scratch: join(hosts.folder, 'scratch'),
      policy: {},
    });
    const compacted = await measure(buckets.many, INSTANCES);
    return report({ one, many, compacted, peer });
  } finally {
    await hosts.close();
  }
}

function report(costs: {
  one: ReceiveCost;
  many: ReceiveCost;
  compacted: ReceiveCost;
  peer: ReceiveCost | undefined;
}): Row[] {
  const { one, many, compacted, peer } = costs;
  const size = `${INSTANCES} × ${RECORDS.toLocaleString('en')} records`;
  const both = (name: string, cost: ReceiveCost, more: (key: 'cpuMs' | 'bytesDown') => object) => [
    { name: `${name}: CPU`, value: cost.cpuMs, unit: 'ms', ...more('cpuMs') },
    { name: `${name}: bytes down`, value: cost.bytesDown, unit: 'bytes', ...more('bytesDown') },
  ];
  return [
    ...both(`bootstrap, compacted, ${size}`, compacted, (key) => ({
      target: TARGET_RATIO * one[key],
      peer: peer?.[key],
    })),
    ...both(`bootstrap, not compacted, ${size}`, many, (key) => ({ peer: peer?.[key] })),
    ...both(`bootstrap, one instance of ${RECORDS.toLocaleString('en')} records`, one, () => ({})),
  ];
}

/** Full snapshots of the first instance, and of all of them, as their agents have written them. */
async function fillBuckets(hosts: BenchHosts): Promise<{ one: string; many: string }> {
  const [one, many] = [hosts.freshBucket(), hosts.freshBucket()];
  for (const bucket of [one, many]) {
    await mkdir(bucket);
  }
  for (let instance = 0; instance < INSTANCES; instance += 1) {
    const own = await storedBy(hosts, instance);
    for (const object of await readdir(own)) {
      if (!object.endsWith('.pb.gz')) {
        continue;
      }
      await copyFile(join(own, object), join(many, object));
      if (instance === 0) {
        await copyFile(join(own, object), join(one, object));
      }
    }
  }
  return { one, many };
}

/** A bucket that one instance alone has written to: nothing of another one's came into its LMDB. */
function storedBy(hosts: BenchHosts, instance: number): Promise<string> {
  const changes = Array.from({ length: RECORDS / STEP }, (_, i) => ({
    key: recordKey(i * STEP + instance),
    value: valueOf(instance),
  }));
  return storeOnce(hosts, `host${instance}`, changes);
}

function valueOf(instance: number): string {
  return `of instance ${instance}`.padEnd(20);
}

function hasAllOf(reader: Application, instances: number): boolean {
  return (
    reader.count() === RECORDS &&
    Array.from({ length: instances }, (_, i) => i).every(
      (instance) => reader.read(recordKey(instance))?.value === valueOf(instance),
    )
  );
}
