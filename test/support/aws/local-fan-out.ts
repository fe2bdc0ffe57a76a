import { PublishBatchCommand, type SNSClient } from '@aws-sdk/client-sns';
import { DeleteMessageCommand, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { FanOut } from '../../../lambdas/fan-out/fan-out.ts';
import { encodeNotice } from '../../../protocol/notice.ts';
import { noticeAttributes } from '../../../protocol/notice-queue.ts';

export type LocalFanOutOptions = {
  readonly sqs: SQSClient;
  readonly sns: SNSClient;
  readonly ingestUrl: string;
  readonly topicArn: string;
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
    const { sqs, sns, ingestUrl: QueueUrl, topicArn: TopicArn, objectPrefix } = this.#options;
    const { signal } = this.#stop;
    const fanOut = new FanOut({
      objectPrefix,
      nowMs: Date.now,
      topic: {
        async publish(notices) {
          const PublishBatchRequestEntries = notices.map((notice, i) => {
            const { database, instance } = noticeAttributes(notice);
            return {
              Id: String(i),
              Message: encodeNotice(notice),
              MessageAttributes: {
                database: { DataType: 'String', StringValue: database },
                instance: { DataType: 'String', StringValue: instance },
              },
            };
          });
          await sns.send(new PublishBatchCommand({ TopicArn, PublishBatchRequestEntries }));
          return [];
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
