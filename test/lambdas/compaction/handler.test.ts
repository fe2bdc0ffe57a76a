import * as sdk from '@aws-sdk/client-s3';
import { mockClient } from 'aws-sdk-client-mock';
import type { Context, SQSEvent } from 'aws-lambda';

const s3 = mockClient(sdk.S3Client);

beforeAll(() => {
  Object.assign(process.env, {
    BUCKET: 'b',
    OBJECT_PREFIX: '',
    MUST_KEEP_SECONDS: '600',
    TOMBSTONE_RETENTION_DAYS: 'never',
    UPSTREAM_READS: 'false',
    SPOOL_MIB: '100',
    AWS_REGION: 'eu-central-1',
    // An emulator's address says nothing about the region.
    AWS_ENDPOINT_URL: 'http://127.0.0.1:9',
    POWERTOOLS_LOG_LEVEL: 'SILENT',
    POWERTOOLS_METRICS_DISABLED: 'true',
  });
});

test('the compactor asks S3 in the region of its function', async () => {
  // What may heal by itself ends the job.
  s3.rejects(Object.assign(new Error('busy'), { name: 'SlowDown' }));
  const { handler } = await import('../../../lambdas/compaction/handler.ts');
  const event = { Records: [{ body: '{"database":"main"}' }] } as unknown as SQSEvent;
  const context = { getRemainingTimeInMillis: () => 300_000 } as unknown as Context;
  await handler(event, context);
  const [call] = s3.calls();
  const client = call?.thisValue as sdk.S3Client;
  expect(await client.config.region()).toBe('eu-central-1');
});
