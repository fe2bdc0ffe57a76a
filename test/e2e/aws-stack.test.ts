import {
  DeleteBucketPolicyCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  ListQueuesCommand,
  PurgeQueueCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SetQueueAttributesCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import {
  ListSubscriptionsByTopicCommand,
  PublishCommand,
  SubscribeCommand,
  UnsubscribeCommand,
} from '@aws-sdk/client-sns';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse } from 'yaml';
import { parseManifest } from '../../protocol/manifest.ts';
import { type Notice, encodeNotice, parseNotice } from '../../protocol/notice.ts';
import { agentQueueTags } from '../../protocol/notice-queue.ts';
import { manifestName } from '../../protocol/object-name.ts';
import type { S3ObjectStore } from '../../storage/s3/store.ts';
import { AwsStack } from '../support/aws/aws-stack.ts';
import { TestWriter, entry, names, plain, readObject } from '../support/compaction.ts';
import { freshState } from '../support/readers/fresh-reader.ts';
import { reportFigure } from '../support/figures.ts';
import { findMiniStack, startMiniStack, type MiniStack } from '../support/aws/ministack.ts';

const AGENTS = ['a1', 'a2', 'a3'];
const CONFIG = {
  stage: 'e2e',
  agents: AGENTS,
  databases: ['main'],
  compactionMinutes: 1,
  mustKeepMinutes: 0,
  agentRoles: true,
  directNotices: true,
};
/** Generous: the emulator shares the machine with other tests. */
const PATIENCE_MS = 60_000;

const program = findMiniStack();
const suite = program === undefined ? describe.skip : describe;

suite('the stack, deployed with TLS and policies enforced', () => {
  let ministack: MiniStack;
  let stack: AwsStack;
  let sqs: SQSClient;
  let store: S3ObjectStore;

  beforeAll(async () => {
    ministack = await startMiniStack(program ?? '', { tls: true, env: { AUTH: 'true' } });
    stack = await AwsStack.deploy(ministack, CONFIG);
    sqs = stack.sqs();
    store = await stack.store();
  }, 400_000);

  afterAll(async () => {
    sqs?.destroy();
    await store?.close();
    stack?.close();
    await ministack?.stop();
  }, 30_000);

  /** Receives and deletes notices until one is wanted; what was passed over on the way comes back too. */
  async function receiveUntil(agent: string, wanted: (notice: Notice) => boolean) {
    const seen: Notice[] = [];
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end;) {
      const QueueUrl = stack.queueUrl(agent);
      const { Messages = [] } = await sqs.send(
        new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 2 }),
      );
      if (Messages.length === 0) {
        continue;
      }
      const Entries = Messages.map(({ ReceiptHandle }, i) => ({ Id: String(i), ReceiptHandle }));
      await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
      seen.push(...Messages.map(({ Body = '' }) => parseNotice(Body)));
      if (seen.some(wanted)) {
        return seen;
      }
    }
    throw new Error(`${agent} waits in vain; it got ${JSON.stringify(seen)}`);
  }

  async function waiting(queueUrl: string): Promise<number> {
    const { Attributes } = await sqs.send(
      new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ['All'] }),
    );
    return Number(Attributes?.['ApproximateNumberOfMessages']);
  }

  async function until(what: string, condition: () => Promise<boolean>, patienceMs = PATIENCE_MS) {
    for (const end = Date.now() + patienceMs; Date.now() < end; await sleep(200)) {
      if (await condition()) {
        return;
      }
    }
    throw new Error(`waited in vain for: ${what}`);
  }

  test('an object gives a notice in every queue but its writer’s', async () => {
    const a1 = new TestWriter(store, { instance: 'a1', run: 'r1' });
    const a2 = new TestWriter(store, { instance: 'a2', run: 'r2' });
    const delays: number[] = [];
    for (let i = 0; i < 15; i++) {
      const start = performance.now();
      const name = await a1.delta([{ name: 'd', entries: [entry(`k${i}`, 'v', BigInt(i))] }]);
      const stored = performance.now();
      const [notices] = await Promise.all([
        receiveUntil('a2', (notice) => notice.name === name),
        receiveUntil('a3', (notice) => notice.name === name),
      ]);
      delays.push(performance.now() - stored);
      expect(notices.find((notice) => notice.name === name)).toMatchObject({
        version: 1,
        database: 'main',
        instance: 'a1',
      });
      expect(start).toBeLessThan(stored);
    }
    const sorted = delays.toSorted((a, b) => a - b);
    reportFigure(
      `object stored -> notice received by both others: p50 ${sorted[7]?.toFixed(0)} ms, max ${sorted.at(-1)?.toFixed(0)} ms`,
    );
    // The writer's queue: its own objects are not in it, the next one's is.
    const marker = await a2.delta([{ name: 'd', entries: [entry('m', 'v', 99n)] }]);
    const own = await receiveUntil('a1', (notice) => notice.name === marker);
    expect(own.map(({ name }) => name)).toEqual([marker]);
  }, 120_000);

  test('foreign objects and nonsense are dropped: no notice, no dead letter', async () => {
    const s3 = stack.s3();
    const Bucket = stack.output('BucketName');
    await s3.send(new PutObjectCommand({ Bucket, Key: 'holiday photos ü.pb.gz', Body: 'x' }));
    const QueueUrl = stack.output('IngestQueueUrl');
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: 'nonsense' }));
    const a1 = new TestWriter(store, { instance: 'a1', run: 'r3' });
    const marker = await a1.delta([{ name: 'd', entries: [entry('m', 'w', 100n)] }]);
    const got = await receiveUntil('a3', (notice) => notice.name === marker);
    expect(got.every(({ database }) => database === 'main')).toBe(true);
    await until('an empty ingest queue', async () => (await waiting(QueueUrl)) === 0);
    expect(await waiting(stack.output('IngestDeadLettersUrl'))).toBe(0);
    await s3.send(new DeleteObjectCommand({ Bucket, Key: 'holiday photos ü.pb.gz' }));
    s3.destroy();
  }, 120_000);

  test('a queue that refuses keeps nobody else from the notice, and nothing is sent twice', async () => {
    const QueueUrl = stack.queueUrl('a2');
    const { Attributes } = await sqs.send(
      new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['Policy', 'QueueArn'] }),
    );
    const refuse = {
      Version: '2012-10-17',
      Statement: [
        {
          Effect: 'Deny',
          Principal: '*',
          Action: 'sqs:SendMessage*',
          Resource: Attributes?.['QueueArn'],
        },
      ],
    };
    await sqs.send(
      new SetQueueAttributesCommand({ QueueUrl, Attributes: { Policy: JSON.stringify(refuse) } }),
    );
    const a1 = new TestWriter(store, { instance: 'a1', run: 'r4' });
    const name = await a1.delta([{ name: 'd', entries: [entry('p', 'v', 101n)] }]);
    await receiveUntil('a3', (notice) => notice.name === name);
    await sqs.send(
      new SetQueueAttributesCommand({
        QueueUrl,
        Attributes: { Policy: Attributes?.['Policy'] ?? '' },
      }),
    );
    const marker = await a1.delta([{ name: 'd', entries: [entry('q', 'v', 102n)] }]);
    const later = await receiveUntil('a3', (notice) => notice.name === marker);
    expect(later.map((notice) => notice.name)).toEqual([marker]);
    const after = await receiveUntil('a2', (notice) => notice.name === marker);
    expect(after.map((notice) => notice.name)).not.toContain(name);
    const ingest = stack.output('IngestQueueUrl');
    await until('an empty ingest queue', async () => (await waiting(ingest)) === 0);
    expect(await waiting(stack.output('IngestDeadLettersUrl'))).toBe(0);
  }, 120_000);

  test('an agent may do its work and nothing else', async () => {
    const keys = await stack.assume('a1');
    const s3 = stack.s3(keys);
    const own = stack.sqs(keys);
    const Bucket = stack.output('BucketName');
    const object = (Key: string) => ({ Bucket, Key });
    const ownKey = 'main__a1__20240131-235959-012345678__Grx__S1.pb.gz';
    const otherKey = ownKey.replace('a1', 'a2');
    const outcome = async (action: Promise<unknown>): Promise<string> => {
      try {
        await action;
        return 'allowed';
      } catch (error) {
        const { name } = error as Error;
        return /Denied|^AuthorizationError/.test(name) ? 'denied' : name;
      }
    };
    const put = (Key: string) => s3.send(new PutObjectCommand({ ...object(Key), Body: 'x' }));
    const receive = (QueueUrl: string) =>
      own.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 0 }));
    const send = (QueueUrl: string) =>
      own.send(new SendMessageCommand({ QueueUrl, MessageBody: 'x' }));
    const sns = stack.sns(keys);
    const TopicArn = stack.output('NoticeTopicArn');
    const publish = () => sns.send(new PublishCommand({ TopicArn, Message: 'x' }));
    const { Subscriptions = [] } = await stack
      .sns()
      .send(new ListSubscriptionsByTopicCommand({ TopicArn }));
    const SubscriptionArn = Subscriptions[0]?.SubscriptionArn;
    const unsubscribe = () => sns.send(new UnsubscribeCommand({ SubscriptionArn }));
    const table: [string, string, Promise<unknown>][] = [
      ['put an object of its own', 'allowed', put(ownKey)],
      ['make the bucket id', 'allowed', put('lightningstream.bucket-id.json')],
      ['list', 'allowed', s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'main__' }))],
      ['receive notices', 'allowed', receive(stack.queueUrl('a1'))],
      ['put in the name of another', 'denied', put(otherKey)],
      ['put in the name of a longer one', 'denied', put(ownKey.replace('a1', 'a1x'))],
      ['replace the manifest', 'denied', put(manifestName('main'))],
      ['replace the base', 'denied', put(ownKey.replace('a1', 'compacted'))],
      ['put another database', 'denied', put(ownKey.replace('main', 'other'))],
      ['delete an object of its own', 'denied', s3.send(new DeleteObjectCommand(object(ownKey)))],
      ['receive what is for another', 'denied', receive(stack.queueUrl('a2'))],
      ['receive from the ingest queue', 'denied', receive(stack.output('IngestQueueUrl'))],
      ['send to a queue of notices', 'denied', send(stack.queueUrl('a2'))],
      ['publish a notice', 'denied', publish()],
      ['unsubscribe another', 'denied', unsubscribe()],
      ['send a compaction job', 'denied', send(stack.output('CompactionJobsUrl'))],
      ['list queues', 'denied', own.send(new ListQueuesCommand({}))],
      ['delete an object of another', 'denied', s3.send(new DeleteObjectCommand(object(otherKey)))],
      [
        'delete the manifest',
        'denied',
        s3.send(new DeleteObjectCommand(object(manifestName('main')))),
      ],
      ['list what is not its own', 'denied', s3.send(new ListBucketsCommand({}))],
      ['open the bucket', 'denied', s3.send(new DeleteBucketPolicyCommand({ Bucket }))],
      ['receive dead letters', 'denied', receive(stack.output('IngestDeadLettersUrl'))],
      [
        'purge the queue of another',
        'denied',
        own.send(new PurgeQueueCommand({ QueueUrl: stack.queueUrl('a2') })),
      ],
      [
        'remove its own queue',
        'denied',
        own.send(new DeleteQueueCommand({ QueueUrl: stack.queueUrl('a1') })),
      ],
    ];
    const got = await Promise.all(
      table.map(async ([what, , action]) => [what, await outcome(action)] as const),
    );
    expect(got).toEqual(table.map(([what, wanted]) => [what, wanted]));
    expect(await outcome(s3.send(new GetObjectCommand(object(ownKey))))).toBe('allowed');
    await store.delete(ownKey, new AbortController().signal);
    s3.destroy();
    own.destroy();
  }, 60_000);

  test('an agent’s own notice is passed on like S3’s', async () => {
    const keys = await stack.assume('a1');
    const own = stack.sqs(keys);
    const name = 'main__a1__20240131-235959-012345678__Grdirect__S1.delta.pb.gz';
    const notice: Notice = {
      version: 1,
      database: 'main',
      instance: 'a1',
      name,
      sizeBytes: 1,
      eventTimeMs: Date.now(),
    };
    const QueueUrl = stack.output('IngestQueueUrl');
    await own.send(new SendMessageCommand({ QueueUrl, MessageBody: encodeNotice(notice) }));
    const got = await receiveUntil('a3', (received) => received.name === name);
    expect(got.find((received) => received.name === name)).toEqual(notice);
    own.destroy();
  }, 90_000);

  test('the sweep removes a queue that an agent has made and nobody reads, with its subscription, and subscribes one that is not', async () => {
    const prefix = stack.output('QueuePrefix');
    const TopicArn = stack.output('NoticeTopicArn');
    const sns = stack.sns();
    const make = async (instance: string, tags: Record<string, string>) => {
      const { QueueUrl = '' } = await sqs.send(
        new CreateQueueCommand({
          QueueName: `${prefix}${instance}`,
          tags: { ...agentQueueTags(instance), ...tags },
        }),
      );
      return QueueUrl;
    };
    const gone = await make('gone', { 'lightningstream-unread-since': '2024-01-01T00:00:00Z' });
    await make('old', {});
    await sqs.send(new SendMessageCommand({ QueueUrl: gone, MessageBody: 'unread' }));
    const { Attributes } = await sqs.send(
      new GetQueueAttributesCommand({ QueueUrl: gone, AttributeNames: ['QueueArn'] }),
    );
    await sns.send(
      new SubscribeCommand({ TopicArn, Protocol: 'sqs', Endpoint: Attributes?.['QueueArn'] }),
    );
    await stack.invoke(stack.output('QueueSweeperFunction'));
    const { QueueUrls = [] } = await sqs.send(new ListQueuesCommand({ QueueNamePrefix: prefix }));
    const left = QueueUrls.map((url) => url.slice(url.lastIndexOf(prefix) + prefix.length));
    expect(left.toSorted((a, b) => (a < b ? -1 : 1))).toEqual([...AGENTS, 'old']);
    const { Subscriptions = [] } = await sns.send(
      new ListSubscriptionsByTopicCommand({ TopicArn }),
    );
    const ends = Subscriptions.map(({ Endpoint = '' }) => Endpoint.split(prefix)[1] ?? '');
    expect(ends.toSorted((a, b) => (a < b ? -1 : 1))).toEqual([...AGENTS, 'old']);
    sns.destroy();
    // An agent of before the topic gets its notices from now on.
    const a1 = new TestWriter(store, { instance: 'a1', run: 'r7' });
    const name = await a1.delta([{ name: 'd', entries: [entry('o', 'v', 103n)] }]);
    const got = await receiveUntil('old', (notice) => notice.name === name);
    expect(got.map((notice) => notice.name)).toEqual([name]);
  }, 60_000);

  test('every agent has a complete configuration from the outputs', () => {
    for (const agent of AGENTS) {
      expect(parse(stack.agentYaml(agent))).toMatchObject({
        instance: agent,
        storage: { type: 's3', options: { bucket: stack.output('BucketName') } },
        notices: { queue_prefix: stack.output('QueuePrefix') },
      });
    }
  });

  test('compaction runs on its schedule, empties the bucket of what is covered, and loses nothing', async () => {
    const a1 = new TestWriter(store, { instance: 'a1', run: 'r5' });
    const a2 = new TestWriter(store, { instance: 'a2', run: 'r6' });
    await a1.snapshot([
      { name: 'd', entries: Array.from({ length: 500 }, (_, i) => entry(`s${i}`, 'v', 5n)) },
    ]);
    for (let i = 0; i < 5; i++) {
      await a2.delta([{ name: 'd', entries: [entry(`s${i}`, undefined, 200n + BigInt(i))] }]);
    }
    const before = plain(await freshState(store));
    const covered = async (): Promise<boolean> => {
      const bytes = await readObject(store, manifestName('main'));
      if (bytes === undefined) {
        return false;
      }
      const { vector } = parseManifest(bytes);
      return vector.get(a1.stream) === a1.seq && vector.get(a2.stream) === a2.seq;
    };
    await until('a manifest that covers everything', covered, 150_000);
    await until(
      'an empty bucket',
      async () => (await names(store)).every((name) => !/__a\d__/.test(name)),
      150_000,
    );
    expect(plain(await freshState(store))).toEqual(before);
    expect(await waiting(stack.output('CompactionDeadLettersUrl'))).toBe(0);
  }, 320_000);
});
