import type * as sdkModule from '@aws-sdk/client-sqs';
import type { SQSClientConfig } from '@aws-sdk/client-sqs';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { errorText } from '../../protocol/errors.ts';
import { openAgents } from '../../storage/http/connections.ts';
import { configuredCredentials } from '../../storage/s3/credentials.ts';
import {
  QUEUE_BATCH_MAX,
  QueueError,
  type CreateQueueOptions,
  type QueueMessage,
  type QueueRequestKind,
  type QueueService,
  type QueueTrouble,
  type ReceiveOptions,
  type SubscribeOptions,
} from './queue-service.ts';
import { foreignOriginOf, isForeign, type SqsOptions } from './sqs-options.ts';
import { TopicSubscriber } from './sqs-subscribe.ts';
import { timerMs } from '../../protocol/time.ts';

type Sdk = typeof sdkModule;

/** The SDK's tries of one request; rounds are ours. */
const REQUEST_ATTEMPTS = 3;
/** A long poll is silent for 20 s; a connection that is silent for longer is dead. */
const SILENCE_MS = 35_000;
const DIAL_TIMEOUT_MS = 10_000;

/** Loads the SDK and makes a client for SQS; no request yet. Rejects with CONFIG_INVALID (TLS files, half a key pair). */
export async function openSqs(options: SqsOptions): Promise<QueueService> {
  const { connection = {}, queueUrl } = options;
  const credentials = configuredCredentials(connection);
  const agents = await openAgents({ ...connection, proxies: options.proxies }, {});
  const endpoint = options.endpointUrl || foreignOriginOf(queueUrl);
  // Only here: agents without a queue need not pay for it.
  const sdk = await import('@aws-sdk/client-sqs');
  const common = {
    maxAttempts: REQUEST_ATTEMPTS,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: timerMs(connection.dialTimeoutMs ?? DIAL_TIMEOUT_MS),
      socketTimeout: SILENCE_MS,
      httpAgent: agents.http,
      httpsAgent: agents.https,
    }),
    ...(options.region === '' ? {} : { region: options.region }),
    ...(credentials === undefined ? {} : { credentials }),
  };
  const config: SQSClientConfig = endpoint === undefined ? common : { ...common, endpoint };
  const client = new sdk.SQSClient(config);
  const subscriber = new TopicSubscriber({
    sdk,
    client,
    // The topic is where the queue is; but AWS has a host for each of its services.
    config: isForeign(endpoint) ? config : common,
  });
  return new SqsQueues({ sdk, client, subscriber, onRequest: options.onRequest }, () => {
    subscriber.close();
    client.destroy();
    agents.close();
  });
}

type Opened = {
  readonly subscriber: TopicSubscriber;
  readonly sdk: Sdk;
  readonly client: sdkModule.SQSClient;
  readonly onRequest: SqsOptions['onRequest'];
};

class SqsQueues implements QueueService {
  readonly #opened: Opened;
  readonly #close: () => void;

  constructor(opened: Opened, close: () => void) {
    this.#opened = opened;
    this.#close = close;
  }

  async find(name: string, signal: AbortSignal): Promise<string | undefined> {
    const { sdk, client } = this.#opened;
    try {
      const { QueueUrl } = await this.#request('sqs-find', `find the queue ${name}`, () =>
        client.send(new sdk.GetQueueUrlCommand({ QueueName: name }), { abortSignal: signal }),
      );
      return QueueUrl;
    } catch (error) {
      if (error instanceof QueueError && error.trouble === 'gone') {
        return undefined;
      }
      throw error;
    }
  }

  async create(name: string, options: CreateQueueOptions): Promise<string> {
    const { sdk, client } = this.#opened;
    const { retentionSeconds, visibilitySeconds, tags, signal } = options;
    const { QueueUrl } = await this.#request('sqs-create', `create the queue ${name}`, () =>
      client.send(
        new sdk.CreateQueueCommand({
          QueueName: name,
          Attributes: {
            MessageRetentionPeriod: String(retentionSeconds),
            VisibilityTimeout: String(visibilitySeconds),
            ReceiveMessageWaitTimeSeconds: '20',
            SqsManagedSseEnabled: 'true',
          },
          tags,
        }),
        { abortSignal: signal },
      ),
    );
    if (QueueUrl === undefined) {
      throw new QueueError('passing', `the queue ${name} got no URL`);
    }
    return QueueUrl;
  }

  subscribe(queueUrl: string, options: SubscribeOptions): Promise<'filtered' | 'unfiltered'> {
    const { subscriber } = this.#opened;
    return subscriber.subscribe(queueUrl, {
      ...options,
      request: (action, run) => this.#request('sqs-subscribe', action, run),
    });
  }

  async receive(queueUrl: string, options: ReceiveOptions): Promise<readonly QueueMessage[]> {
    const { sdk, client } = this.#opened;
    const { waitSeconds, visibilitySeconds, signal } = options;
    const { Messages = [] } = await this.#request('sqs-receive', `receive from ${queueUrl}`, () =>
      client.send(
        new sdk.ReceiveMessageCommand({
          QueueUrl: queueUrl,
          MaxNumberOfMessages: QUEUE_BATCH_MAX,
          WaitTimeSeconds: waitSeconds,
          VisibilityTimeout: visibilitySeconds,
        }),
        { abortSignal: signal },
      ),
    );
    return Messages.map(({ MessageId = '', Body = '', ReceiptHandle = '' }) => ({
      id: MessageId,
      body: Body,
      receipt: ReceiptHandle,
    }));
  }

  async delete(
    queueUrl: string,
    receipts: readonly string[],
    signal: AbortSignal,
  ): Promise<number> {
    const { sdk, client } = this.#opened;
    const Entries = receipts.map((ReceiptHandle, i) => ({ Id: String(i), ReceiptHandle }));
    const { Failed = [] } = await this.#request('sqs-delete', `delete from ${queueUrl}`, () =>
      client.send(new sdk.DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries }), {
        abortSignal: signal,
      }),
    );
    return Failed.length;
  }

  async send(queueUrl: string, bodies: readonly string[], signal: AbortSignal): Promise<number> {
    const { sdk, client } = this.#opened;
    const Entries = bodies.map((MessageBody, i) => ({ Id: String(i), MessageBody }));
    const { Failed = [] } = await this.#request('sqs-send', `send to ${queueUrl}`, () =>
      client.send(new sdk.SendMessageBatchCommand({ QueueUrl: queueUrl, Entries }), {
        abortSignal: signal,
      }),
    );
    return Failed.length;
  }

  close(): void {
    this.#close();
  }

  async #request<T extends { readonly $metadata: sdkModule.SendMessageCommandOutput['$metadata'] }>(
    kind: QueueRequestKind,
    action: string,
    run: () => Promise<T>,
  ): Promise<T> {
    const { onRequest } = this.#opened;
    try {
      const output = await run();
      // Without the field it is a client of tests.
      onRequest?.({ kind, requests: output.$metadata?.attempts ?? 1, trouble: undefined });
      return output;
    } catch (error) {
      const trouble = troubleOf(error);
      onRequest?.({ kind, requests: factsOf(error).attempts, trouble });
      throw new QueueError(trouble, `cannot ${action}: ${describe(error)}`, factsOf(error).name);
    }
  }
}

const GONE = /NonExistentQueue|QueueDoesNotExist|^NotFound/;
const DENIED =
  /AccessDenied|InvalidAccessKeyId|InvalidClientTokenId|SignatureDoesNotMatch|UnrecognizedClient|InvalidSecurity|InvalidAddress|CredentialsProvider|TokenProvider|QueueNameExists|^InvalidParameter/;

/** The SDK's error is not kept as `cause`: for a refused signature it carries what was signed. */
function troubleOf(error: unknown): QueueTrouble {
  const { name, status } = factsOf(error);
  if (GONE.test(name)) {
    return 'gone';
  }
  // SQS answers with 403 to requests that are too many, too.
  if (/Throttl/.test(name)) {
    return 'passing';
  }
  const refused = status === 401 || status === 403 || DENIED.test(name);
  // A wrong region is told by the SDK in words only.
  return refused || /region is missing/i.test(errorText(error)) ? 'denied' : 'passing';
}

/** For a signature that does not fit, SQS answers with what was to be signed: session tokens are in it. */
function describe(error: unknown): string {
  const { name } = factsOf(error);
  return /Signature|InvalidSecurity/.test(name) ? name : errorText(error);
}

function factsOf(error: unknown): { name: string; status: number | undefined; attempts: number } {
  const { name, $metadata } = (error ?? {}) as {
    readonly name?: string;
    readonly $metadata?: { readonly httpStatusCode?: number; readonly attempts?: number };
  };
  return {
    name: name ?? '',
    status: $metadata?.httpStatusCode,
    attempts: $metadata?.attempts ?? 1,
  };
}
