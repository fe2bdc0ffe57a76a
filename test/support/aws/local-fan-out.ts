import {
  DeleteMessageCommand,
  ListQueuesCommand,
  QueueDoesNotExist,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { FanOut } from '../../../lambdas/fan-out/fan-out.ts';

export type LocalFanOutOptions = {
  readonly sqs: SQSClient;
  readonly ingestUrl: string;
  readonly queuePrefix: string;
  readonly objectPrefix: string;
};

/** The fan-out of the Lambda in this process, reading the ingest queue until it is stopped. */
export class LocalFanOut {
  readonly #options: LocalFanOutOptions;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(options: LocalFanOutOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { sqs, ingestUrl: QueueUrl, queuePrefix, objectPrefix } = this.#options;
    const { signal } = this.#stop;
    const fanOut = new FanOut({
      queuePrefix,
      objectPrefix,
      nowMs: Date.now,
      queues: {
        async list(prefix) {
          const { QueueUrls } = await sqs.send(new ListQueuesCommand({ QueueNamePrefix: prefix }));
          return QueueUrls ?? [];
        },
        async send(queueUrl, bodies) {
          const Entries = bodies.map((MessageBody, i) => ({ Id: String(i), MessageBody }));
          try {
            await sqs.send(new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
            return [];
          } catch (error) {
            if (error instanceof QueueDoesNotExist) {
              return 'gone';
            }
            throw error;
          }
        },
      },
    });
    while (!signal.aborted) {
      try {
        const { Messages = [] } = await sqs.send(
          new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 5 }),
          { abortSignal: signal },
        );
        await fanOut.handle(
          Messages.map(({ MessageId = '', Body = '' }) => ({ messageId: MessageId, body: Body })),
        );
        for (const { ReceiptHandle } of Messages) {
          await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
        }
      } catch (error) {
        if (!signal.aborted) {
          throw error;
        }
      }
    }
  }
}
