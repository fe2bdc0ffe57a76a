import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';

type Handler = (event: SQSEvent) => Promise<SQSBatchResponse>;

/** A server that speaks as much of SNS as the fan-out uses. */
class LocalTopic {
  readonly requests: URLSearchParams[] = [];
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        this.requests.push(new URLSearchParams(Buffer.concat(chunks).toString()));
        response.setHeader('content-type', 'text/xml');
        response.end(
          '<PublishBatchResponse><PublishBatchResult><Successful/><Failed/></PublishBatchResult></PublishBatchResponse>',
        );
      });
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** How many notices a request has. */
  static entries(this: void, request: URLSearchParams): number {
    return [...request.keys()].filter((key) => /\.\d+\.Message$/.test(key)).length;
  }
}

let topic: LocalTopic;
let handler: Handler;

beforeAll(async () => {
  topic = new LocalTopic();
  Object.assign(process.env, {
    NOTICE_TOPIC_ARN: 'arn:aws:sns:eu-west-1:1:ls',
    OBJECT_PREFIX: '',
    AWS_REGION: 'eu-west-1',
    AWS_ENDPOINT_URL: await topic.listen(),
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    POWERTOOLS_LOG_LEVEL: 'SILENT',
    POWERTOOLS_METRICS_DISABLED: 'true',
  });
  ({ handler } = await import('../../../lambdas/fan-out/handler.ts'));
});

afterAll(() => topic.close());

/** S3's events of this many deltas of agent 0. */
function event(deltas: number): SQSEvent {
  const Records = Array.from({ length: deltas }, (_, i) => ({
    messageId: `m${i}`,
    body: JSON.stringify({
      Records: [
        {
          eventName: 'ObjectCreated:Put',
          eventTime: '2024-01-31T23:59:59.100Z',
          s3: {
            object: {
              key: `main__a0__20240131-235959-012345678__Grun1__S${i + 1}.delta.pb.gz`,
              size: 1,
            },
          },
        },
      ],
    }),
  }));
  return { Records } as unknown as SQSEvent;
}

test.each([1, 10])(
  '%d events of a batch are one request, and no queue is looked for',
  async (deltas) => {
    topic.requests.length = 0;
    expect(await handler(event(deltas))).toEqual({ batchItemFailures: [] });
    expect(topic.requests.map((request) => request.get('Action'))).toEqual(['PublishBatch']);
    expect(topic.requests.map(LocalTopic.entries)).toEqual([deltas]);
  },
);
