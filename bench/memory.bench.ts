import { waitUntil } from '../demo/wait.ts';
import { BenchHosts, recordKey, recordValue } from './support/bench-host.ts';
import { ProcessMeter } from './support/process-meter.ts';
import type { BenchOptions, Row } from './support/row.ts';

const TIMEOUT_MS = 600_000;
const CHANGES = 50;

/**
 * The most memory of its own that an agent takes: writing a full snapshot (A), merging it into an empty LMDB (B),
 * and both while single changes go to and fro. Mapped pages of the LMDB are not counted: the kernel may drop them.
 */
export async function run(options: BenchOptions): Promise<Row[]> {
  const hosts = await BenchHosts.open(options.records);
  try {
    const ours = await peaks(hosts, options.records, undefined);
    const peer =
      options.peer === undefined ? undefined : await peaks(hosts, options.records, options.peer);
    const size = `${options.records.toLocaleString('en')} records`;
    return [
      {
        name: `memory, snapshot out, ${size}`,
        value: ours.writerMb,
        unit: 'MB',
        target: 150,
        peer: peer?.writerMb,
      },
      {
        name: `memory, snapshot in, ${size}`,
        value: ours.readerMb,
        unit: 'MB',
        target: 150,
        peer: peer?.readerMb,
      },
    ];
  } finally {
    await hosts.close();
  }
}

async function peaks(hosts: BenchHosts, records: number, peer: string | undefined) {
  const bucket = hosts.freshBucket();
  const a = await hosts.application('a', 'filled');
  const writer = await hosts.start('a', { bucket, peer });
  using writerMeter = new ProcessMeter(writer.pid);
  await writer.ready(TIMEOUT_MS);

  const b = await hosts.application('b', 'empty');
  const reader = await hosts.start('b', { bucket, peer });
  using readerMeter = new ProcessMeter(reader.pid);
  await waitUntil(() => b.count() === records, { timeoutMs: TIMEOUT_MS, what: 'all records in b' });
  await reader.ready(TIMEOUT_MS);
  const changes = peer === undefined ? CHANGES : 3;
  for (let i = 0; i < changes; i++) {
    const write = { key: recordKey(i), value: recordValue(i, 2) };
    const [from, to] = i % 2 === 0 ? [a, b] : [b, a];
    from.write([write]);
    await waitUntil(() => to.read(write.key)?.value === write.value, {
      timeoutMs: TIMEOUT_MS,
      what: `change ${i}`,
    });
  }
  const result = { writerMb: writerMeter.peakMemoryMb, readerMb: readerMeter.peakMemoryMb };
  await hosts.clear();
  return result;
}
