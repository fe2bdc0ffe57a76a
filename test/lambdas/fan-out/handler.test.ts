import * as sdk from '@aws-sdk/client-sqs';
import { mockClient } from 'aws-sdk-client-mock';
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';

const { ListQueuesCommand, QueueDoesNotExist, SendMessageBatchCommand } = sdk;
const sqs = mockClient(sdk.SQSClient);
const A = 'https://sqs/1/ls-a';
const B = 'https://sqs/1/ls-b';
const DELTA = 'main__a__20240131-235959-012345678__Grun1__S7.delta.pb.gz';

type Handler = (event: SQSEvent) => Promise<SQSBatchResponse>;

/** A fresh Lambda: its module is loaded anew. */
async function coldStart(): Promise<Handler> {
  process.env['NOTICE_QUEUE_PREFIX'] = 'ls-';
  process.env['OBJECT_PREFIX'] = '';
  process.env['AWS_REGION'] = 'eu-west-1';
  process.env['POWERTOOLS_LOG_LEVEL'] = 'SILENT';
  process.env['POWERTOOLS_METRICS_DISABLED'] = 'true';
  let handler: Handler | undefined;
  await jest.isolateModulesAsync(async () => {
    // The same classes inside the isolated module, so that the mock sees its client.
    jest.doMock('@aws-sdk/client-sqs', () => sdk);
    ({ handler } = await import('../../../lambdas/fan-out/handler.ts'));
  });
  if (handler === undefined) {
    throw new Error('no handler');
  }
  return handler;
}

function event(...keys: string[]): SQSEvent {
  const Records = keys.map((key, i) => ({
    messageId: `m${i}`,
    body: JSON.stringify({
      Records: [
        {
          eventName: 'ObjectCreated:Put',
          eventTime: '2024-01-31T23:59:59.100Z',
          s3: { object: { key, size: 1 } },
        },
      ],
    }),
  }));
  return { Records } as unknown as SQSEvent;
}

beforeEach(() => {
  sqs.reset();
});

test('finds queues by prefix over several pages and sends one batch to each but the writer', async () => {
  sqs
    .on(ListQueuesCommand, { QueueNamePrefix: 'ls-', NextToken: undefined })
    .resolves({ QueueUrls: [A], NextToken: 'more' })
    .on(ListQueuesCommand, { NextToken: 'more' })
    .resolves({ QueueUrls: [B] })
    .on(SendMessageBatchCommand)
    .resolves({ Successful: [], Failed: [] });
  const handler = await coldStart();
  expect(await handler(event(DELTA))).toEqual({ batchItemFailures: [] });
  const sent = sqs.commandCalls(SendMessageBatchCommand).map((call) => call.args[0].input);
  expect(sent.map(({ QueueUrl }) => QueueUrl)).toEqual([B]);
  expect(JSON.parse(sent[0]?.Entries?.[0]?.MessageBody ?? '')).toMatchObject({ name: DELTA });
});

test('a refused entry fails its message, a deleted queue none', async () => {
  sqs
    .on(ListQueuesCommand)
    .resolves({ QueueUrls: ['https://sqs/1/ls-c', B] })
    .on(SendMessageBatchCommand, { QueueUrl: B })
    .resolves({ Successful: [], Failed: [{ Id: '1', SenderFault: false, Code: 'InternalError' }] })
    .on(SendMessageBatchCommand, { QueueUrl: 'https://sqs/1/ls-c' })
    .rejects(new QueueDoesNotExist({ message: 'gone', $metadata: {} }));
  const handler = await coldStart();
  const second = DELTA.replace('S7', 'S8');
  expect(await handler(event(DELTA, second))).toEqual({
    batchItemFailures: [{ itemIdentifier: 'm1' }],
  });
});

test('a Lambda without its variables says which is missing', async () => {
  const { parseEnvironment } = await import('../../../lambdas/shared/environment.ts');
  const { fanOutEnvSchema } = await import('../../../lambdas/fan-out/env.ts');
  expect(() => parseEnvironment(fanOutEnvSchema, { OBJECT_PREFIX: '' })).toThrow(
    /NOTICE_QUEUE_PREFIX/,
  );
});
