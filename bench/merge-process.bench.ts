import type { Application } from '../demo/application.ts';
import { BenchHosts, recordKey } from './support/bench-host.ts';
import { storeOnce } from './support/only-once.ts';
import { receiveOnce, type ReceiveCost } from './support/receive-once.ts';
import type { BenchOptions, Row } from './support/row.ts';
import { medianOf } from './support/statistics.ts';

const RUNS = 3;
/** Upstream's CPU time, measured with 1,000,000 records on a 2-core machine; a peer in this run replaces it. */
const UPSTREAM_CPU_MS = 480;
const MAX_LOCK_HOLD_MS = 250;
const DIFFERENCE = { key: recordKey(4321), value: 'the difference' };

/** An agent that starts and merges one full snapshot: with one difference, and with everything new. */
export async function run(options: BenchOptions): Promise<Row[]> {
  const hosts = await BenchHosts.open(options.records);
  try {
    const bucket = await storeOnce(hosts, 'writer', [DIFFERENCE]);
    const { peer: program } = options;
    const isComplete = (reader: Application) => hasAll(reader, hosts.records);
    const measure = (content: 'filled' | 'empty', peer?: string) =>
      medianOf(RUNS, () => receiveOnce(hosts, { bucket, content, peer, isComplete }));
    const both = async (content: 'filled' | 'empty') => ({
      ours: await measure(content),
      peer: program === undefined ? undefined : await measure(content, program),
    });
    const size = `${options.records.toLocaleString('en')} records`;
    return [
      ...report(`merge of a full snapshot, 1 difference, ${size}`, await both('filled'), {
        cpuTargetMs: (peerMs) => 1.2 * (peerMs ?? UPSTREAM_CPU_MS),
        lockTargetMs: 1,
      }),
      ...report(`merge of a full snapshot, everything new, ${size}`, await both('empty'), {
        cpuTargetMs: () => undefined,
        lockTargetMs: MAX_LOCK_HOLD_MS,
      }),
    ];
  } finally {
    await hosts.close();
  }
}

function report(
  name: string,
  { ours, peer }: { ours: ReceiveCost; peer: ReceiveCost | undefined },
  targets: { cpuTargetMs(peerMs: number | undefined): number | undefined; lockTargetMs: number },
): Row[] {
  const row = (what: string, key: keyof ReceiveCost, unit: string, target?: number): Row => ({
    name: `${name}: ${what}`,
    value: ours[key],
    unit,
    target,
    peer: peer?.[key],
  });
  return [
    row('CPU, process start included', 'cpuMs', 'ms', targets.cpuTargetMs(peer?.cpuMs)),
    row('longest write lock', 'lockMs', 'ms', targets.lockTargetMs),
    row('until visible, process start included', 'wallMs', 'ms'),
    row('memory', 'memoryMb', 'MB', 150),
  ];
}

function hasAll(reader: Application, records: number): boolean {
  return reader.count() === records && reader.read(DIFFERENCE.key)?.value === DIFFERENCE.value;
}
