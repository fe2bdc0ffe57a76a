import { BenchHosts } from './support/bench-host.ts';
import { measureBoth, type BothCosts, type ChangeCost } from './support/change-cost.ts';
import type { BenchOptions, Row } from './support/row.ts';

const SMALL = 10_000;
const MEDIUM = 100_000;
const CHANGES = 200;

/** Commit in A to visible in B over a folder, with what one change costs in bytes, CPU and write lock. */
export async function run(options: BenchOptions): Promise<Row[]> {
  const rows: Row[] = [];
  for (const records of new Set([SMALL, MEDIUM, options.records])) {
    const hosts = await BenchHosts.open(records);
    try {
      const costs = await measureBoth(hosts, options, { changes: CHANGES, start: {} });
      rows.push(...report(`${records.toLocaleString('en')} records`, costs));
    } finally {
      await hosts.close();
    }
  }
  return rows;
}

function report(size: string, { ours, peer }: BothCosts): Row[] {
  const row = (name: string, key: keyof ChangeCost, unit: string, target: number): Row => ({
    name: `${name}, ${size}`,
    value: ours[key],
    unit,
    target,
    peer: peer?.[key],
  });
  return [
    row('commit to visible p50, folder', 'p50Ms', 'ms', 10),
    row('commit to visible p99, folder', 'p99Ms', 'ms', 50),
    row('bytes up per change', 'bytesUp', 'bytes', 600),
    row('bytes down per change and reader', 'bytesDown', 'bytes', 600),
    row('CPU per change, A + B', 'cpuMs', 'ms', 8),
    row('write lock in B per change', 'lockMs', 'ms', 1),
  ];
}
