import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SetQueueAttributesCommand,
} from '@aws-sdk/client-sqs';
import { SubscribeCommand } from '@aws-sdk/client-sns';
import {
  BY_NAME,
  POLL_MS,
  SAFETY_MS,
  Scene,
  TOPIC,
  ARN,
  URL,
  deletedReceipts,
  failure,
  gone,
  message,
  objectName,
  sns,
  sqs,
  until,
} from './queue-scene.ts';

beforeEach(() => {
  sqs.reset();
  sns.reset();
  sqs.on(DeleteMessageBatchCommand).resolves({});
  sqs.on(GetQueueAttributesCommand).resolves({ Attributes: { QueueArn: ARN } });
  sqs.on(SetQueueAttributesCommand).resolves({});
  sns.on(SubscribeCommand).resolves({ SubscriptionArn: `${TOPIC}:sub` });
});

test('names of a batch are handed on together, and deleted in one request once nothing more comes', async () => {
  const scene = await Scene.open();
  expect(scene.said).toEqual(['list']);
  await scene.answer([message(2), message(1), message(2)]);
  // In the order of the stream, whatever order the queue has.
  expect(scene.said[1]).toEqual([objectName(1), objectName(2)]);
  expect(deletedReceipts()).toEqual([]);
  await scene.answer([]);
  expect(deletedReceipts()).toEqual([['r2', 'r1', 'r2']]);
  expect(sqs.commandCalls(ReceiveMessageCommand)[0]?.args[0].input).toMatchObject({
    QueueUrl: URL,
    MaxNumberOfMessages: 10,
    WaitTimeSeconds: 20,
    VisibilityTimeout: 120,
  });
  expect(scene.received).toEqual([{ notices: 3, broken: 0, delaysMs: [40, 40, 40] }]);
  await scene.stop();
});

test('under load one request deletes ten', async () => {
  const scene = await Scene.open();
  for (let seq = 0; seq < 12; seq += 1) {
    await scene.answer([message(seq)]);
  }
  expect(deletedReceipts().map((receipts) => receipts?.length)).toEqual([10]);
  await scene.stop();
});

test('messages are deleted long before they would come again', async () => {
  const scene = await Scene.open();
  await scene.answer([message(1)]);
  scene.monotonicMs = 31_000;
  await scene.answer([message(2)]);
  expect(deletedReceipts()).toEqual([['r1', 'r2']]);
  await scene.stop();
});

test('the end of the agent deletes what was handed on', async () => {
  const scene = await Scene.open();
  await scene.answer([message(1)]);
  await scene.stop();
  expect(deletedReceipts()).toEqual([['r1']]);
});

test('a broken message is deleted, logged without its text, and counted', async () => {
  const scene = await Scene.open();
  await scene.answer([message(1, '{"password": "geheim"}'), message(2), message(3, '')]);
  await scene.answer([]);
  expect(scene.said.slice(1)).toEqual([[objectName(2)]]);
  expect(deletedReceipts()).toEqual([['r1', 'r2', 'r3']]);
  expect(scene.received).toMatchObject([{ notices: 1, broken: 2 }]);
  expect(scene.logged.join('\n')).toContain('"message":"m1"');
  expect(scene.logged.join('\n')).not.toContain('geheim');
  await scene.stop();
});

test('idle, there are long polls and the safety listing, nothing else', async () => {
  const scene = await Scene.open();
  for (let i = 0; i < 30; i += 1) {
    await scene.answer([]);
    if (i % 15 === 14) {
      await scene.pass(SAFETY_MS);
    }
  }
  expect(scene.said).toEqual(['list', 'list', 'list']);
  expect(new Set(scene.requests.map(({ kind }) => kind))).toEqual(new Set(['sqs-receive']));
  expect(scene.requests).toHaveLength(30);
  expect(sqs.calls()).toHaveLength(31);
  await scene.stop();
});

test('errors that pass are tried again ever more rarely, and the safety listing goes on', async () => {
  const scene = await Scene.open();
  const pauses = [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000];
  for (const pauseMs of pauses) {
    await scene.answer(failure('ServiceUnavailable'));
    expect(scene.sleeping).toContain(pauseMs);
    if (pauseMs === 20_000) {
      await scene.pass(SAFETY_MS);
    }
    await scene.pass(pauseMs);
  }
  expect(scene.lists).toBe(3);
  await scene.answer([message(1)]);
  expect(scene.said.at(-1)).toEqual([objectName(1)]);
  // One line when it begins and one when it is over.
  expect(scene.logged).toHaveLength(2);
  await scene.answer(failure('ServiceUnavailable'));
  expect(scene.sleeping).toContain(500);
  await scene.stop();
});

test('too many requests are no reason to list instead', async () => {
  const scene = await Scene.open();
  const metadata = { $metadata: { httpStatusCode: 403 } };
  await scene.answer(Object.assign(failure('RequestThrottled'), metadata));
  expect(scene.requests.map(({ trouble }) => trouble)).toEqual(['passing']);
  expect(scene.sleeping.toSorted((a, b) => a - b)).toEqual([500, SAFETY_MS]);
  await scene.stop();
});

test('tells whether notices can be received, for /healthz', async () => {
  const scene = await Scene.open();
  await scene.answer(failure('ServiceUnavailable'));
  expect(scene.trouble).toBe('passing');
  await scene.pass(500);
  await scene.answer(gone());
  expect(scene.trouble).toBe('gone');
  await scene.pass(1000);
  await scene.answer([]);
  expect(scene.trouble).toBeUndefined();
  await scene.stop();
});

test('a delete that fails is no reason to stop receiving', async () => {
  sqs.on(DeleteMessageBatchCommand).rejects(failure('ServiceUnavailable'));
  const scene = await Scene.open();
  await scene.answer([message(1)]);
  await scene.answer([]);
  await scene.answer([message(1)]);
  expect(scene.said).toHaveLength(3);
  await scene.stop();
});

test('the queue is found by its name', async () => {
  sqs.on(GetQueueUrlCommand, { QueueName: 'fleet-a' }).resolves({ QueueUrl: URL });
  const scene = await Scene.open(BY_NAME(true));
  await scene.answer([message(1)]);
  expect(scene.said).toEqual(['list', [objectName(1)]]);
  expect(sqs.commandCalls(CreateQueueCommand)).toHaveLength(0);
  await scene.stop();
});

test('a missing queue is made where that is allowed; until the topic surely sends to it the storage is polled', async () => {
  sqs.on(GetQueueUrlCommand).rejects(gone());
  sqs.on(CreateQueueCommand).resolves({ QueueUrl: URL });
  const scene = await Scene.open(BY_NAME(true));
  await scene.polling();
  expect(sqs.commandCalls(CreateQueueCommand)[0]?.args[0].input).toEqual({
    QueueName: 'fleet-a',
    Attributes: {
      MessageRetentionPeriod: '14400',
      VisibilityTimeout: '120',
      ReceiveMessageWaitTimeSeconds: '20',
      SqsManagedSseEnabled: 'true',
    },
    tags: { lightningstream: 'notices', 'lightningstream:instance': 'a' },
  });
  // At start, when it was made, and every second for a minute.
  const before = scene.lists;
  let polls = 0;
  for (; polls < 100; polls += 1) {
    await until(() => scene.sleeping.length === 1);
    if (!scene.sleeping.includes(POLL_MS)) {
      break;
    }
    await scene.pass(POLL_MS);
  }
  expect(polls).toBeGreaterThanOrEqual(60);
  expect(scene.lists).toBe(before + polls);
  expect(scene.sleeping).toEqual([SAFETY_MS]);
  await scene.stop();
});

test.each([
  ['without a queue', () => gone()],
  ['where the queue is denied', () => failure('AccessDenied', 'not authorized')],
  ['without a region', () => new Error('Region is missing')],
])('%s it polls and says so, once; a queue that is there later ends that', async (_, problem) => {
  sqs.on(GetQueueUrlCommand).rejects(problem());
  const scene = await Scene.open(BY_NAME(false));
  for (const pauseMs of [500, 1000, 2000]) {
    await scene.pass(POLL_MS);
    await scene.pass(pauseMs);
  }
  expect(scene.lists).toBeGreaterThanOrEqual(4);
  expect(scene.logged).toHaveLength(1);
  expect(scene.logged[0]).toContain('listing the storage as often as without');
  sqs.on(GetQueueUrlCommand).resolves({ QueueUrl: URL });
  await scene.pass(4000);
  await scene.polling();
  const before = scene.lists;
  await scene.answer([]);
  await until(() => scene.sleeping.includes(SAFETY_MS));
  // What was stored before it began to receive.
  expect(scene.lists).toBe(before + 1);
  expect(scene.logged.at(-1)).toContain('again');
  await scene.stop();
});

test('a queue that goes away is looked for again', async () => {
  sqs.on(GetQueueUrlCommand).resolves({ QueueUrl: URL });
  const scene = await Scene.open(BY_NAME(false));
  await scene.answer([message(1)]);
  await scene.answer(gone());
  expect(scene.logged.at(-1)).toContain('no queue of notices');
  await scene.pass(500);
  await scene.polling();
  expect(sqs.commandCalls(GetQueueUrlCommand)).toHaveLength(2);
  // The receipt of the message in the lost queue is of no use.
  await scene.answer([]);
  expect(deletedReceipts()).toEqual([]);
  await scene.stop();
});

test('what was to be signed is not in the log: it holds session tokens', async () => {
  const scene = await Scene.open();
  await scene.answer(
    failure('SignatureDoesNotMatch', 'The Canonical String is x-amz-security-token:geheim'),
  );
  expect(scene.logged.join('\n')).toContain('SignatureDoesNotMatch');
  expect(scene.logged.join('\n')).not.toContain('geheim');
  await scene.stop();
});
