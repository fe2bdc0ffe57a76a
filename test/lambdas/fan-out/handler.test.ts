import * as sdk from '@aws-sdk/client-sns';
import { mockClient } from 'aws-sdk-client-mock';
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';

const { PublishBatchCommand } = sdk;
const sns = mockClient(sdk.SNSClient);
const TOPIC = 'arn:aws:sns:eu-west-1:1:ls';
const DELTA = 'main__a__20240131-235959-012345678__Grun1__S7.delta.pb.gz';

type Handler = (event: SQSEvent) => Promise<SQSBatchResponse>;

/** A fresh Lambda: its module is loaded anew. */
async function coldStart(): Promise<Handler> {
  process.env['NOTICE_TOPIC_ARN'] = TOPIC;
  process.env['OBJECT_PREFIX'] = '';
  process.env['AWS_REGION'] = 'eu-west-1';
  process.env['POWERTOOLS_LOG_LEVEL'] = 'SILENT';
  process.env['POWERTOOLS_METRICS_DISABLED'] = 'true';
  let handler: Handler | undefined;
  await jest.isolateModulesAsync(async () => {
    // The same classes inside the isolated module, so that the mock sees its client.
    jest.doMock('@aws-sdk/client-sns', () => sdk);
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
  sns.reset();
});

test('publishes each notice with the attributes that subscriptions filter by', async () => {
  sns.on(PublishBatchCommand).resolves({ Successful: [], Failed: [] });
  const handler = await coldStart();
  const odd = '____20240131-235959-012345678__Grun1__S7.delta.pb.gz';
  const answer = await handler(event(DELTA, encodeURIComponent(odd)));
  expect(answer).toEqual({ batchItemFailures: [] });
  const [call] = sns.commandCalls(PublishBatchCommand).map(({ args }) => args[0].input);
  const entries = call?.PublishBatchRequestEntries ?? [];
  expect(call?.TopicArn).toBe(TOPIC);
  expect(JSON.parse(entries[0]?.Message ?? '')).toMatchObject({ name: DELTA });
  const text = (StringValue: string) => ({ DataType: 'String', StringValue });
  expect(entries.map(({ MessageAttributes }) => MessageAttributes)).toEqual([
    { database: text('main'), instance: text('a') },
    // SNS refuses empty values.
    { database: text('(none)'), instance: text('(none)') },
  ]);
});

test('a refused entry fails its message, unless it is itself at fault', async () => {
  sns.on(PublishBatchCommand).resolves({
    Successful: [],
    Failed: [
      { Id: '0', SenderFault: true, Code: 'InvalidParameter' },
      { Id: '1', SenderFault: false, Code: 'InternalError' },
    ],
  });
  const handler = await coldStart();
  const more = [8, 9].map((seq) => DELTA.replace('S7', `S${seq}`));
  expect(await handler(event(DELTA, ...more))).toEqual({
    batchItemFailures: [{ itemIdentifier: 'm1' }],
  });
});

test('a Lambda without its variables says which is missing', async () => {
  const { parseEnvironment } = await import('../../../lambdas/shared/environment.ts');
  const { fanOutEnvSchema } = await import('../../../lambdas/fan-out/env.ts');
  expect(() => parseEnvironment(fanOutEnvSchema, { OBJECT_PREFIX: '' })).toThrow(
    /NOTICE_TOPIC_ARN/,
  );
});
