import {
  DeleteMessageBatchCommand,
  QueueDoesNotExist,
  ReceiveMessageCommand,
  SQSClient,
  type Message,
} from '@aws-sdk/client-sqs';
import { SNSClient } from '@aws-sdk/client-sns';
import { mockClient } from 'aws-sdk-client-mock';
import { setImmediate as turn } from 'node:timers/promises';
import { backoff } from '../../../agent/pacing/backoff.ts';
import type { Logger, LogFields } from '../../../agent/log/log.ts';
import type { QueueRequestReport, QueueTrouble } from '../../../agent/notices/queue-service.ts';
import { openSqs } from '../../../agent/notices/sqs.ts';
import { QueueNotices, type QueueChoice } from '../../../agent/notices/queue.ts';
import type { ReceivedReport } from '../../../agent/notices/observer.ts';
import { encodeNotice } from '../../../protocol/notice.ts';

/** Of the queue of every scene. */
export const URL = 'https://sqs.eu-west-1.amazonaws.com/111122223333/fleet-a';
export const ARN = 'arn:aws:sqs:eu-west-1:111122223333:fleet-a';
/** The topic of its fleet. */
export const TOPIC = 'arn:aws:sns:eu-west-1:111122223333:fleet';
const BY_URL: QueueChoice = { kind: 'url', url: URL };
/** A queue that is found by its name. */
export const BY_NAME = (create: boolean): QueueChoice => ({
  kind: 'name',
  name: 'fleet-a',
  create,
  prefix: 'fleet-',
  instance: 'a',
});
/** Between two listings while notices come. */
export const SAFETY_MS = 300_000;
/** Between two listings while none can come. */
export const POLL_MS = 1000;
const NOW_MS = 1_800_000_000_000;

/** The clients of every scene; to be reset before each test. */
export const sqs = mockClient(SQSClient);
export const sns = mockClient(SNSClient);

/** The name of an object that a notice is about. */
export const objectName = (seq: number) =>
  `main__b__20240131-235959-012345678__Grx__S${seq}.delta.pb.gz`;
/** A message of the queue: a notice, unless another body is given. */
export const message = (seq: number, body = noticeText(seq)): Message => ({
  MessageId: `m${seq}`,
  ReceiptHandle: `r${seq}`,
  Body: body,
});
const noticeText = (seq: number) =>
  encodeNotice({
    version: 1,
    database: 'main',
    instance: 'b',
    name: objectName(seq),
    sizeBytes: 10,
    eventTimeMs: NOW_MS - 40,
  });
/** An error of AWS's, which its name tells apart. */
export const failure = (name: string, text = name) => Object.assign(new Error(text), { name });
/** What SQS says of a queue that is not there. */
export const gone = () => new QueueDoesNotExist({ message: 'no such queue', $metadata: {} });

/** Waits until the condition holds; turns of the event loop are all that passes here. */
export async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 10_000; i += 1) {
    if (condition()) {
      return;
    }
    await turn();
  }
  throw new Error('never happened');
}

/** A queue whose long polls end when the test says so, and an agent's source on it. */
export class Scene {
  readonly said: (readonly string[] | 'list')[] = [];
  readonly logged: string[] = [];
  readonly requests: QueueRequestReport[] = [];
  readonly received: ReceivedReport[] = [];
  trouble: QueueTrouble | undefined;
  readonly #polls: ((result: Message[] | Error) => void)[] = [];
  readonly #sleeps: { readonly delayMs: number; readonly end: () => void }[] = [];
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  monotonicMs = 0;

  static async open(queue: QueueChoice = BY_URL): Promise<Scene> {
    const scene = new Scene();
    sqs.on(ReceiveMessageCommand).callsFake(() => scene.#longPoll());
    const log = (fields: LogFields, text: string) =>
      void scene.logged.push(`${text} ${JSON.stringify(fields)}`);
    const logger: Logger = {
      debug: () => undefined,
      info: log,
      warn: log,
      error: log,
      child: () => logger,
    };
    const source = new QueueNotices({
      queues: await openSqs({
        region: 'eu-west-1',
        endpointUrl: '',
        queueUrl: URL,
        onRequest: (report) => scene.requests.push(report),
      }),
      queue,
      waitTimeMs: 20_000,
      safetyIntervalMs: SAFETY_MS,
      pollIntervalMs: POLL_MS,
      sleep: (delayMs, aborting) => scene.#sleep(delayMs, aborting),
      backoff: backoff({ minMs: 500, maxMs: 20_000, random: () => 1 - Number.EPSILON }),
      now: () => NOW_MS,
      monotonicMs: () => scene.monotonicMs,
      log: logger,
      onReceived: (report) => scene.received.push(report),
      onWorked: () => (scene.trouble = undefined),
      onFailed: (error) => (scene.trouble = error.trouble),
    });
    scene.#running = source.run((names) => scene.said.push(names), scene.#stop.signal);
    return scene;
  }

  /** How often a listing was asked for. */
  get lists(): number {
    return this.said.filter((word) => word === 'list').length;
  }

  /** The pauses under way, in milliseconds. */
  get sleeping(): number[] {
    return this.#sleeps.map(({ delayMs }) => Math.round(delayMs));
  }

  /** Ends the long poll that is under way, and waits for the next one or a pause. */
  async answer(result: Message[] | Error): Promise<void> {
    await until(() => this.#polls.length > 0);
    this.#polls.shift()?.(result);
    const pauses = this.#sleeps.length;
    await until(() => this.#polls.length > 0 || this.#sleeps.length > pauses);
  }

  /** Ends the pause of that length. */
  async pass(delayMs: number): Promise<void> {
    await until(() => this.sleeping.includes(delayMs));
    const [sleeping] = this.#sleeps.splice(this.sleeping.indexOf(delayMs), 1);
    sleeping?.end();
    await turn();
  }

  async polling(): Promise<void> {
    await until(() => this.#polls.length > 0);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#polls.splice(0).forEach((end) => end(failure('AbortError')));
    await this.#running;
  }

  #longPoll(): Promise<{ Messages?: Message[] }> {
    return new Promise((resolve, reject) => {
      this.#polls.push((result) => {
        if (result instanceof Error) {
          reject(result);
        } else {
          resolve(result.length === 0 ? {} : { Messages: result });
        }
      });
    });
  }

  #sleep(delayMs: number, aborting: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const sleeping = { delayMs, end: resolve };
      this.#sleeps.push(sleeping);
      const abort = () => {
        const at = this.#sleeps.indexOf(sleeping);
        if (at >= 0) {
          this.#sleeps.splice(at, 1);
        }
        reject(aborting.reason as Error);
      };
      if (aborting.aborted) {
        abort();
      } else {
        aborting.addEventListener('abort', abort, { once: true });
      }
    });
  }
}

/** Receipts of each request that deleted messages. */
export const deletedReceipts = () =>
  sqs
    .commandCalls(DeleteMessageBatchCommand)
    .map(({ args }) => args[0].input.Entries?.map(({ ReceiptHandle }) => ReceiptHandle));
