import { BenchHosts } from './support/bench-host.ts';
import { ended, ONLY_ONCE } from './support/only-once.ts';
import { ProcessMeter } from './support/process-meter.ts';
import type { BenchOptions, Row } from './support/row.ts';
import { medianOf } from './support/statistics.ts';

const RUNS = 5;
/** Upstream's wall time, measured with 1,000,000 records on a 2-core machine; a peer in this run replaces it. */
const UPSTREAM_WALL_MS = 290;

/** A whole process that starts, writes one full snapshot of everything into a folder, and ends. */
export async function run(options: BenchOptions): Promise<Row[]> {
  const hosts = await BenchHosts.open(options.records);
  try {
    const ours = await medianOf(RUNS, () => snapshotOnce(hosts, undefined));
    const { peer: program } = options;
    const peer =
      program === undefined ? undefined : await medianOf(RUNS, () => snapshotOnce(hosts, program));
    const size = `${options.records.toLocaleString('en')} records`;
    return [
      {
        name: `full snapshot, whole process, ${size}`,
        value: ours.wallMs,
        unit: 'ms',
        target: 1.2 * (peer?.wallMs ?? UPSTREAM_WALL_MS),
        peer: peer?.wallMs,
      },
      {
        name: `full snapshot, whole process, CPU, ${size}`,
        value: ours.cpuMs,
        unit: 'ms',
        peer: peer?.cpuMs,
      },
      {
        name: `full snapshot, whole process, memory, ${size}`,
        value: ours.memoryMb,
        unit: 'MB',
        target: 150,
        peer: peer?.memoryMb,
      },
    ];
  } finally {
    await hosts.close();
  }
}

async function snapshotOnce(hosts: BenchHosts, peer: string | undefined) {
  await hosts.application('once', 'filled');
  const start = performance.now();
  const agent = await hosts.start('once', { peer, verb: ONLY_ONCE });
  using meter = new ProcessMeter(agent.pid);
  await ended(agent);
  const wallMs = performance.now() - start;
  await hosts.clear();
  return { wallMs, cpuMs: meter.cpuMs, memoryMb: meter.peakMemoryMb };
}
