import { randomUUID } from 'node:crypto';
import type { MiniStack } from '../test/support/ministack.ts';
import { findMiniStack, startMiniStack } from '../test/support/ministack.ts';
import { BenchHosts, type StartOptions } from './support/bench-host.ts';
import { measureChanges, type ChangeCost } from './support/change-cost.ts';
import type { BenchOptions, Row } from './support/row.ts';

// Below the burst that an agent may upload at once over S3; beyond it, one object a second is what is configured.
const CHANGES = 16;
const PEER_CHANGES = 15;
const POLL_MS = 100;
/** The design's bound for the work itself; a poll comes half its interval late on average. */
const WORK_MS = 30;

/** Commit in A to visible in B over S3 on this machine, found by polling. */
export async function run(options: BenchOptions): Promise<Row[]> {
  const program = findMiniStack();
  if (program === undefined) {
    return [];
  }
  const server = await startMiniStack(program);
  const hosts = await BenchHosts.open(options.records);
  try {
    const ours = await measureChanges(hosts, { changes: CHANGES, start: over(server) });
    const { peer: command } = options;
    const peer =
      command === undefined
        ? undefined
        : await measureChanges(hosts, {
            changes: PEER_CHANGES,
            start: { ...over(server), peer: command },
          });
    const name = `S3, polls of ${POLL_MS} ms, ${options.records.toLocaleString('en')} records`;
    const row = (what: string, key: keyof ChangeCost, unit: string, target?: number): Row => ({
      name: `${what}, ${name}`,
      value: ours[key],
      unit,
      target,
      peer: peer?.[key],
    });
    return [
      row('commit to visible p50', 'p50Ms', 'ms', WORK_MS + POLL_MS / 2),
      row('commit to visible, slowest', 'p99Ms', 'ms'),
      row('bytes up per change', 'bytesUp', 'bytes', 600),
      row('CPU per change, A + B', 'cpuMs', 'ms'),
    ];
  } finally {
    await hosts.close();
    await server.stop();
  }
}

/** A bucket of its own for each measurement. */
function over({ endpoint, accessKey, secretKey }: MiniStack): StartOptions {
  return {
    storage: `  type: s3
  options:
    endpoint_url: ${endpoint}
    access_key: ${accessKey}
    secret_key: ${secretKey}
    bucket: bench-${randomUUID()}
    create_bucket: true
`,
    settings: `storage_poll_interval: ${POLL_MS}ms\nlmdb_poll_interval: ${POLL_MS}ms\n`,
  };
}
