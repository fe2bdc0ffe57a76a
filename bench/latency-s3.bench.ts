import { randomUUID } from 'node:crypto';
import type { MiniStack } from '../test/support/aws/ministack.ts';
import { findMiniStack, startMiniStack } from '../test/support/aws/ministack.ts';
import { NoticeBucket } from '../test/support/aws/notice-bucket.ts';
import { BenchHosts, type StartOptions } from './support/bench-host.ts';
import { measureBoth, type BothCosts, type ChangeCost } from './support/change-cost.ts';
import type { BenchOptions, Row } from './support/row.ts';

// Below the burst that an agent may upload at once over S3; beyond it, one object a second is what is configured.
const CHANGES = 16;
const POLL_MS = 100;
/** The design's bound for the work itself; a poll comes half its interval late on average. */
const WORK_MS = 30;

/** Commit in A to visible in B over S3 on this machine: found by polling, and told by notices over SQS. */
export async function run(options: BenchOptions): Promise<Row[]> {
  const program = findMiniStack();
  if (program === undefined) {
    return [];
  }
  const server = await startMiniStack(program);
  const hosts = await BenchHosts.open(options.records);
  try {
    const polled = await byPolls(hosts, server, options);
    return [...polled, ...(await byNotices(hosts, server, options))];
  } finally {
    await hosts.close();
    await server.stop();
  }
}

/** Both look for what is new every 100 ms. */
async function byPolls(
  hosts: BenchHosts,
  server: MiniStack,
  options: BenchOptions,
): Promise<Row[]> {
  const settings = `storage_poll_interval: ${POLL_MS}ms\nlmdb_poll_interval: ${POLL_MS}ms\n`;
  const costs = await measureBoth(hosts, options, {
    changes: CHANGES,
    start: { ...over(server), settings },
    peerStart: { ...over(server), settings },
  });
  return report(`polls of ${POLL_MS} ms`, options, { ...costs, targetMs: WORK_MS + POLL_MS / 2 });
}

/** We never list; upstream, which has no notices, polls as often as it does unless told otherwise. */
async function byNotices(
  hosts: BenchHosts,
  server: MiniStack,
  options: BenchOptions,
): Promise<Row[]> {
  const bucket = await NoticeBucket.open(server, `bench-${randomUUID()}`);
  try {
    await bucket.notifyOfObjects();
    for (const name of ['a', 'b']) {
      await bucket.createQueueOf(name);
    }
    bucket.startFanOut();
    const settings = `storage_poll_interval: 10h\nstorage_safety_list_interval: 10h\n${bucket.notices()}`;
    const costs = await measureBoth(hosts, options, {
      changes: CHANGES,
      start: { storage: bucket.storage(), settings },
      peerStart: over(server),
    });
    const { noticeDelayMs } = costs.ours;
    return [
      ...report('notices', options, { ...costs, targetMs: WORK_MS + noticeDelayMs }),
      { name: 'from event to notice, S3 and SQS', value: noticeDelayMs, unit: 'ms' },
    ];
  } finally {
    await bucket.close();
  }
}

function report(
  how: string,
  { records }: BenchOptions,
  { ours, peer, targetMs }: BothCosts & { readonly targetMs: number },
): Row[] {
  const row = (what: string, key: keyof ChangeCost, unit: string, target?: number): Row => ({
    name: `${what}, S3, ${how}, ${records.toLocaleString('en')} records`,
    value: ours[key],
    unit,
    target,
    peer: peer?.[key],
  });
  return [
    row('commit to visible p50', 'p50Ms', 'ms', targetMs),
    row('commit to visible, slowest', 'p99Ms', 'ms'),
    row('bytes up per change', 'bytesUp', 'bytes', 600),
    row('CPU per change, A + B', 'cpuMs', 'ms'),
  ];
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
  };
}
