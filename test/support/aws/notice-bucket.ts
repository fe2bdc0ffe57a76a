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
import { LocalFanOut } from './local-fan-out.ts';
import type { MiniStack } from './ministack.ts';

const REGION = 'us-east-1';

/** A bucket whose events reach the queues of agents: the deployed stack's way, without deploying it. */
export class NoticeBucket {
  readonly name: string;
  readonly s3: S3Client;
  readonly sqs: SQSClient;
  readonly ingestUrl: string;
  readonly #server: MiniStack;
  #fanOut: LocalFanOut | undefined;

  private constructor(
    server: MiniStack,
    parts: { name: string; s3: S3Client; sqs: SQSClient; ingestUrl: string },
  ) {
    this.#server = server;
    this.name = parts.name;
    this.s3 = parts.s3;
    this.sqs = parts.sqs;
    this.ingestUrl = parts.ingestUrl;
  }

  /** Makes bucket and ingest queue. Notices flow after {@link notifyOfObjects} and {@link startFanOut}. */
  static async open(server: MiniStack, name: string): Promise<NoticeBucket> {
    const options = {
      endpoint: server.endpoint,
      region: REGION,
      credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
    };
    const s3 = new S3Client({ ...options, forcePathStyle: true });
    const sqs = new SQSClient(options);
    await s3.send(new CreateBucketCommand({ Bucket: name }));
    const { QueueUrl = '' } = await sqs.send(
      new CreateQueueCommand({ QueueName: `${name}-ingest` }),
    );
    return new NoticeBucket(server, { name, s3, sqs, ingestUrl: QueueUrl });
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
  queue_prefix: ${this.name}-to-
  create_queue: true
  endpoint_url: ${endpoint}
  region: ${REGION}
`;
  }

  /** Before the fan-out starts: it looks for queues once a minute, and an agent that makes its own polls until then. */
  async createQueueOf(instance: string): Promise<void> {
    await this.sqs.send(new CreateQueueCommand({ QueueName: `${this.name}-to-${instance}` }));
  }

  /** Rejects while the agent has not made its queue. */
  async queueUrlOf(instance: string): Promise<string> {
    const QueueName = `${this.name}-to-${instance}`;
    return (await this.sqs.send(new GetQueueUrlCommand({ QueueName }))).QueueUrl ?? '';
  }

  /** The events of the bucket go to the ingest queue. */
  async notifyOfObjects(): Promise<void> {
    const { Attributes } = await this.sqs.send(
      new GetQueueAttributesCommand({ QueueUrl: this.ingestUrl, AttributeNames: ['QueueArn'] }),
    );
    const QueueArn = Attributes?.['QueueArn'];
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
      ingestUrl: this.ingestUrl,
      queuePrefix: `${this.name}-to-`,
      objectPrefix: '',
    });
  }

  async close(): Promise<void> {
    await this.#fanOut?.stop();
    this.s3.destroy();
    this.sqs.destroy();
  }
}
