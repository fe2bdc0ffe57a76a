import { SubscribeCommand } from '@aws-sdk/client-sns';
import {
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  SetQueueAttributesCommand,
} from '@aws-sdk/client-sqs';
import { noticeFilter, noticeTopicArn } from '../../../protocol/notice-queue.ts';
import {
  ARN,
  BY_NAME,
  POLL_MS,
  Scene,
  TOPIC,
  URL,
  failure,
  message,
  sns,
  sqs,
} from './queue-scene.ts';

const FILTER = JSON.stringify({ instance: [{ 'anything-but': ['a'] }] });
const OTHERWISE = failure(
  'InvalidParameterException',
  'Attributes Reason: Subscription already exists with different attributes',
);

beforeEach(() => {
  sqs.reset();
  sns.reset();
  sqs.on(DeleteMessageBatchCommand).resolves({});
  sqs.on(GetQueueUrlCommand).resolves({ QueueUrl: URL });
  sqs.on(GetQueueAttributesCommand).resolves({ Attributes: { QueueArn: ARN } });
  sqs.on(SetQueueAttributesCommand).resolves({});
  sns.on(SubscribeCommand).resolves({ SubscriptionArn: `${TOPIC}:sub` });
});

const subscribed = () => sns.commandCalls(SubscribeCommand).map(({ args }) => args[0].input);

test('the topic may send to the queue, and sends what others say', async () => {
  const scene = await Scene.open(BY_NAME(true));
  await scene.answer([message(1)]);
  expect(subscribed()).toEqual([
    {
      TopicArn: TOPIC,
      Protocol: 'sqs',
      Endpoint: ARN,
      Attributes: { RawMessageDelivery: 'true', FilterPolicy: FILTER },
    },
  ]);
  const policy =
    sqs.commandCalls(SetQueueAttributesCommand)[0]?.args[0].input.Attributes?.['Policy'];
  expect(JSON.parse(policy ?? '')).toMatchObject({
    Statement: [
      {
        Effect: 'Allow',
        Principal: { Service: 'sns.amazonaws.com' },
        Action: 'sqs:SendMessage',
        Condition: { ArnEquals: { 'aws:SourceArn': TOPIC } },
      },
      { Effect: 'Deny', Condition: { Bool: { 'aws:SecureTransport': 'false' } } },
    ],
  });
  await scene.stop();
});

test('a queue whose policy is right already keeps it', async () => {
  const first = await Scene.open(BY_NAME(true));
  await first.answer([]);
  await first.stop();
  const Policy =
    sqs.commandCalls(SetQueueAttributesCommand)[0]?.args[0].input.Attributes?.['Policy'];
  sqs
    .on(GetQueueAttributesCommand)
    .resolves({ Attributes: { QueueArn: ARN, ...(Policy === undefined ? {} : { Policy }) } });
  sqs.resetHistory();
  const second = await Scene.open(BY_NAME(true));
  await second.answer([]);
  await second.stop();
  expect(sqs.commandCalls(SetQueueAttributesCommand)).toEqual([]);
});

test('a queue that is subscribed otherwise is read as it is, and the log says so', async () => {
  sns.on(SubscribeCommand).rejects(OTHERWISE);
  const scene = await Scene.open(BY_NAME(true));
  await scene.answer([message(1)]);
  expect(scene.trouble).toBeUndefined();
  expect(scene.logged.join('\n')).toContain('its own notices, too');
  await scene.stop();
});

test('where the topic has no room for a filter the queue gets its own notices, too, and the log says so', async () => {
  sns
    .on(SubscribeCommand)
    .rejectsOnce(failure('FilterPolicyLimitExceededException'))
    .rejects(OTHERWISE);
  const scene = await Scene.open(BY_NAME(true));
  await scene.answer([message(1)]);
  expect(subscribed().at(-1)?.Attributes).toEqual({ RawMessageDelivery: 'true' });
  expect(scene.logged.join('\n')).toContain('filter policies per topic');
  expect(scene.said).toHaveLength(2);
  await scene.stop();
});

test.each([
  ['no topic', 'NotFoundException', 'gone'],
  ['no right to subscribe', 'AuthorizationErrorException', 'denied'],
  ['a subscription that SNS does not take', 'InvalidParameterException', 'denied'],
])('with %s it polls the storage until it is subscribed', async (_, name, trouble) => {
  const status = name.startsWith('Auth') ? 403 : 400;
  sns
    .on(SubscribeCommand)
    .rejects(Object.assign(failure(name), { $metadata: { httpStatusCode: status } }));
  const scene = await Scene.open(BY_NAME(true));
  await scene.pass(POLL_MS);
  expect(scene.trouble).toBe(trouble);
  expect(scene.logged.join('\n')).toContain('subscribe the queue');
  sns.on(SubscribeCommand).resolves({ SubscriptionArn: `${TOPIC}:sub` });
  await scene.pass(500);
  await scene.answer([]);
  expect(scene.trouble).toBeUndefined();
  await scene.stop();
});

test('a queue that the stack has made is not touched', async () => {
  const scene = await Scene.open(BY_NAME(false));
  await scene.answer([]);
  expect(sns.calls()).toEqual([]);
  expect(sqs.commandCalls(GetQueueAttributesCommand)).toEqual([]);
  await scene.stop();
});

test('the topic is found by the prefix, in any partition', () => {
  const queueArn = 'arn:aws-cn:sqs:cn-north-1:111122223333:lightningstream-prod-notices-ns1';
  expect(noticeTopicArn('lightningstream-prod-notices-', queueArn)).toBe(
    'arn:aws-cn:sns:cn-north-1:111122223333:lightningstream-prod-notices',
  );
});

test('a filter stays within what SNS takes: 150 combinations of values', () => {
  const names = (count: number) => Array.from({ length: count }, (_, i) => `db${i}`);
  for (const count of [1, 50, 100, 101, 5000]) {
    const combinations = Object.values(noticeFilter('a', names(count))).reduce(
      (product, values) => product * values.length,
      1,
    );
    expect(combinations).toBeLessThanOrEqual(150);
  }
  expect(noticeFilter('a', names(101))).not.toHaveProperty('database');
});
