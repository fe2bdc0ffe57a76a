import { compactionEnvSchema } from '../../../lambdas/compaction/env.ts';
import { parseJob } from '../../../lambdas/compaction/job.ts';
import { policyOf, runJob } from '../../../lambdas/compaction/run-job.ts';
import { parseEnvironment } from '../../../lambdas/shared/environment.ts';
import { MemoryObjectStore } from '../../../storage/memory.ts';
import { MemoryScratch, TestWriter, entry, names, testRandom } from '../../support/compaction.ts';

const VARIABLES = {
  BUCKET: 'b',
  OBJECT_PREFIX: '',
  MUST_KEEP_SECONDS: '600',
  TOMBSTONE_RETENTION_DAYS: '370',
  UPSTREAM_READS: 'false',
  SPOOL_MIB: '800',
};

function policy(changes: Partial<Record<string, string>> = {}) {
  return policyOf(parseEnvironment(compactionEnvSchema, { ...VARIABLES, ...changes }));
}

async function run(remainingMs: number) {
  const store = new MemoryObjectStore();
  const writer = new TestWriter(store, { instance: 'a', run: 'r' });
  await writer.snapshot([{ name: 'd', entries: [entry('k', 'v', 1n)] }]);
  let open = 0;
  const report = await runJob(parseJob('{"database":"main","at":"2024-01-01T00:00:00Z"}'), {
    store,
    policy: policy({ MUST_KEEP_SECONDS: '0' }),
    remainingMs,
    nowNs: () => 1_800_000_000_000_000_000n,
    monotonicMs: () => 0,
    random: testRandom,
    writer: 'test',
    async openScratch() {
      open += 1;
      return Object.assign(new MemoryScratch(), {
        async close() {
          open -= 1;
        },
      });
    },
  });
  return { report, left: await names(store), open };
}

test('what one entry may have follows the memory of the function', () => {
  expect(policy({ AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '1024' }).entryBytesMax).toBe(128 * 1024 ** 2);
  expect(policy({}).entryBytesMax).toBe(256 * 1024 ** 2);
});

test('a job compacts its database and frees its scratch space', async () => {
  const { report, left, open } = await run(60_000);
  expect(report).toMatchObject({ outcome: 'published', foldedObjects: 1 });
  expect(left).toHaveLength(2);
  expect(open).toBe(0);
});

test('a job ends before the Lambda is ended, and changes nothing half-way', async () => {
  const { report, left, open } = await run(9_000);
  expect(report.outcome).toBe('out-of-time');
  expect(left).toHaveLength(1);
  expect(open).toBe(0);
});

test.each(['', '{}', '{"database":""}', '[]', '{"database":1}'])(
  'a job of %j is refused',
  (body) => {
    expect(() => parseJob(body)).toThrow(expect.objectContaining({ code: 'MESSAGE_INVALID' }));
  },
);

test('the environment gives the policy', () => {
  expect(policy()).toMatchObject({
    mustKeepMs: 600_000,
    tombstoneRetentionMs: 370 * 86_400_000,
    upstreamReads: false,
    spoolBytesMax: 800 * 1024 * 1024,
  });
  expect(policy({ TOMBSTONE_RETENTION_DAYS: 'never', UPSTREAM_READS: 'true' })).toMatchObject({
    tombstoneRetentionMs: undefined,
    upstreamReads: true,
  });
  expect(() => policy({ MUST_KEEP_SECONDS: '-1' })).toThrow(/MUST_KEEP_SECONDS/);
});
