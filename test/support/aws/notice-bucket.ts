import {
  CreateBucketCommand,
  PutBucketNotificationConfigurationCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { CreateTopicCommand, SNSClient, SubscribeCommand } from '@aws-sdk/client-sns';
import { noticeFilter, noticeTopicName } from '../../../protocol/notice-queue.ts';
import { LocalFanOut } from './local-fan-out.ts';
import type { MiniStack } from './ministack.ts';

const REGION = 'us-east-1';

/** A bucket whose events reach the queues of agents: the deployed stack's way, without deploying it. */
export class NoticeBucket {
  readonly name: string;
  readonly s3: S3Client;
  readonly sqs: SQSClient;
  readonly sns: SNSClient;
  readonly ingestUrl: string;
  readonly topicArn: string;
  readonly #server: MiniStack;
  #fanOut: LocalFanOut | undefined;

  private constructor(
    server: MiniStack,
    parts: Pick<NoticeBucket, 'name' | 's3' | 'sqs' | 'sns' | 'ingestUrl' | 'topicArn'>,
  ) {
    this.#server = server;
    this.name = parts.name;
    this.s3 = parts.s3;
    this.sqs = parts.sqs;
    this.sns = parts.sns;
    this.ingestUrl = parts.ingestUrl;
    this.topicArn = parts.topicArn;
  }

  /** Makes bucket, ingest queue and topic. Notices flow after {@link notifyOfObjects} and {@link startFanOut}. */
  static async open(server: MiniStack, name: string): Promise<NoticeBucket> {
    const options = {
      endpoint: server.endpoint,
      region: REGION,
      credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
    };
    const s3 = new S3Client({ ...options, forcePathStyle: true });
    const sqs = new SQSClient(options);
    const sns = new SNSClient(options);
    await s3.send(new CreateBucketCommand({ Bucket: name }));
    const { QueueUrl = '' } = await sqs.send(
      new CreateQueueCommand({ QueueName: `${name}-ingest` }),
    );
    const { TopicArn = '' } = await sns.send(
      new CreateTopicCommand({ Name: noticeTopicName(prefixOf(name)) }),
    );
    const parts = { name, s3, sqs, sns, ingestUrl: QueueUrl, topicArn: TopicArn };
    return new NoticeBucket(server, parts);
  }

  /** The `storage` section of an agent, without its first line. `endpoint`: another way to the server. */
  storage(endpoint = this.#server.endpoint): string {
    return `  type: s3
  options:
    endpoint_url: ${endpoint}
    access_key: ${this.#server.accessKey}
    secret_key: ${this.#server.secretKey}
    bucket: ${this.name}
`;
  }

  /** The `notices` section of an agent; the last section of its file, for more to be appended to it. */
  notices(endpoint = this.#server.endpoint): string {
    return `notices:
  type: sqs
  queue_prefix: ${prefixOf(this.name)}
  create_queue: true
  endpoint_url: ${endpoint}
  region: ${REGION}
`;
  }

  /** As the stack does for the agents that it knows. An agent that makes its own queue polls for a minute. */
  async createQueueOf(instance: string): Promise<void> {
    const QueueName = `${prefixOf(this.name)}${instance}`;
    const { QueueUrl } = await this.sqs.send(new CreateQueueCommand({ QueueName }));
    await this.sns.send(
      new SubscribeCommand({
        TopicArn: this.topicArn,
        Protocol: 'sqs',
        Endpoint: await this.#arnOf(QueueUrl),
        Attributes: {
          RawMessageDelivery: 'true',
          FilterPolicy: JSON.stringify(noticeFilter(instance, [])),
        },
      }),
    );
  }

  /** Rejects while the agent has not made its queue. */
  async queueUrlOf(instance: string): Promise<string> {
    const QueueName = `${prefixOf(this.name)}${instance}`;
    return (await this.sqs.send(new GetQueueUrlCommand({ QueueName }))).QueueUrl ?? '';
  }

  /** The events of the bucket go to the ingest queue. */
  async notifyOfObjects(): Promise<void> {
    const QueueArn = await this.#arnOf(this.ingestUrl);
    await this.s3.send(
      new PutBucketNotificationConfigurationCommand({
        Bucket: this.name,
        NotificationConfiguration: {
          QueueConfigurations: [{ QueueArn, Events: ['s3:ObjectCreated:*'] }],
        },
      }),
    );
  }

  /** From now on what reaches the ingest queue goes to the queues of all agents. */
  startFanOut(): void {
    this.#fanOut = new LocalFanOut({
      sqs: this.sqs,
      sns: this.sns,
      ingestUrl: this.ingestUrl,
      topicArn: this.topicArn,
      objectPrefix: '',
    });
  }

  async close(): Promise<void> {
    await this.#fanOut?.stop();
    this.s3.destroy();
    this.sqs.destroy();
    this.sns.destroy();
  }

  async #arnOf(QueueUrl: string | undefined): Promise<string> {
    const { Attributes } = await this.sqs.send(
      new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['QueueArn'] }),
    );
    return Attributes?.['QueueArn'] ?? '';
  }
}

/** Beginning of the names of the queues of agents. */
function prefixOf(bucket: string): string {
  return `${bucket}-to-`;
}
