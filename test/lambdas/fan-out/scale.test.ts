import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';

/** What SQS takes for an answer inside a region, milliseconds. */
const ANSWER_MS = 10;
const AGENTS = 200;
const PREFIX = 'ls-';

type Handler = (event: SQSEvent) => Promise<SQSBatchResponse>;
type Send = {
  readonly QueueUrl: string;
  readonly Entries: readonly { readonly Id: string; readonly MessageBody: string }[];
};

/** A server that speaks as much of SQS as the fan-out uses, with 200 queues. */
class LocalQueues {
  lists = 0;
  readonly sends: Send[] = [];
  #underWay = 0;
  mostUnderWay = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        void this.#answer(
          String(request.headers['x-amz-target']),
          Buffer.concat(chunks).toString(),
        ).then((body) => {
          response.setHeader('content-type', 'application/x-amz-json-1.0');
          response.end(JSON.stringify(body));
        });
      });
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this.#url();
  }

  #url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(target: string, body: string): Promise<object> {
    this.#underWay += 1;
    this.mostUnderWay = Math.max(this.mostUnderWay, this.#underWay);
    await sleep(ANSWER_MS);
    this.#underWay -= 1;
    if (target.endsWith('.ListQueues')) {
      this.lists += 1;
      const QueueUrls = Array.from({ length: AGENTS }, (_, i) => `${this.#url()}/1/${PREFIX}a${i}`);
      return { QueueUrls };
    }
    const send = JSON.parse(body) as Send;
    this.sends.push(send);
    const Successful = send.Entries.map(({ Id, MessageBody }) => ({
      Id,
      MessageId: Id,
      MD5OfMessageBody: createHash('md5').update(MessageBody).digest('hex'),
    }));
    return { Successful, Failed: [] };
  }
}

let queues: LocalQueues;
let handler: Handler;

beforeAll(async () => {
  queues = new LocalQueues();
  Object.assign(process.env, {
    NOTICE_QUEUE_PREFIX: PREFIX,
    OBJECT_PREFIX: '',
    AWS_REGION: 'eu-west-1',
    AWS_ENDPOINT_URL: await queues.listen(),
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    POWERTOOLS_LOG_LEVEL: 'SILENT',
    POWERTOOLS_METRICS_DISABLED: 'true',
  });
  ({ handler } = await import('../../../lambdas/fan-out/handler.ts'));
});

afterAll(() => queues.close());

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

/** Hands over a batch; milliseconds it took. */
async function timed(deltas: number): Promise<number> {
  queues.sends.length = 0;
  const start = performance.now();
  expect(await handler(event(deltas))).toEqual({ batchItemFailures: [] });
  return performance.now() - start;
}

test('one event goes to 199 agents in as many requests, ten events in no more', async () => {
  const cold = await timed(1);
  expect(queues.lists).toBe(1);
  const readers = new Set(queues.sends.map(({ QueueUrl }) => QueueUrl));
  expect(readers.size).toBe(AGENTS - 1);
  expect(queues.sends).toHaveLength(AGENTS - 1);

  const warm: number[] = [];
  for (let run = 0; run < 5; run += 1) {
    warm.push(await timed(1));
  }
  const batch = await timed(10);
  expect(queues.sends).toHaveLength(AGENTS - 1);
  expect(queues.sends.every(({ Entries }) => Entries.length === 10)).toBe(true);
  expect(queues.lists).toBe(1);
  expect(queues.mostUnderWay).toBeLessThanOrEqual(25);
  const [, , median = 0] = warm.toSorted((a, b) => a - b);
  process.stdout.write(
    `199 queues at ${ANSWER_MS} ms: first ${cold.toFixed(0)} ms, then ${median.toFixed(0)} ms; ten events ${batch.toFixed(0)} ms\n`,
  );
});
