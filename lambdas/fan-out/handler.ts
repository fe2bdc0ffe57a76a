import { Logger } from '@aws-lambda-powertools/logger';
import { MetricUnit, Metrics } from '@aws-lambda-powertools/metrics';
import {
  QueueDoesNotExist,
  SQSClient,
  SendMessageBatchCommand,
  paginateListQueues,
} from '@aws-sdk/client-sqs';
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';
import { errorText } from '../../protocol/errors.ts';
import { parseEnvironment } from '../shared/environment.ts';
import { METRICS, METRICS_NAMESPACE, SERVICES } from '../shared/metrics.ts';
import { FAN_OUT_ENV } from '../shared/env.ts';
import { fanOutEnvSchema } from './env.ts';
import { FanOut, type FanOutResult, type NoticeQueues } from './fan-out.ts';
import { QUEUES_MAX } from './limits.ts';

const env = parseEnvironment(fanOutEnvSchema, process.env);
const logger = new Logger({ serviceName: SERVICES.fanOut });
const metrics = new Metrics({ namespace: METRICS_NAMESPACE, serviceName: SERVICES.fanOut });
const client = new SQSClient({});

const queues: NoticeQueues = {
  async list(prefix) {
    const urls: string[] = [];
    const pages = paginateListQueues({ client, pageSize: 1000 }, { QueueNamePrefix: prefix });
    for await (const page of pages) {
      urls.push(...(page.QueueUrls ?? []));
      if (urls.length >= QUEUES_MAX) {
        break;
      }
    }
    return urls.slice(0, QUEUES_MAX);
  },
  async send(QueueUrl, bodies) {
    const Entries = bodies.map((MessageBody, number) => ({ Id: String(number), MessageBody }));
    try {
      const { Failed = [] } = await client.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
      return Failed.map(({ Id }) => Number(Id));
    } catch (error) {
      if (error instanceof QueueDoesNotExist) {
        return 'gone';
      }
      logger.error('a queue took no notices', { queueUrl: QueueUrl, reason: errorText(error) });
      throw error;
    }
  },
};

const fanOut = new FanOut({
  queues,
  queuePrefix: env[FAN_OUT_ENV.queuePrefix],
  objectPrefix: env[FAN_OUT_ENV.objectPrefix],
  nowMs: Date.now,
});

/** Takes a batch of the ingest queue and passes its notices on; answers with the messages to deliver again. */
export async function handler(event: SQSEvent): Promise<SQSBatchResponse> {
  const result = await fanOut.handle(event.Records);
  report(result);
  return {
    batchItemFailures: result.failedMessageIds.map((itemIdentifier) => ({ itemIdentifier })),
  };
}

function report(result: FanOutResult): void {
  const { dropped, goneQueues, failedMessageIds, ...counts } = result;
  for (const { messageId, reason } of dropped) {
    logger.warn('a message on the ingest queue is no notice and was dropped', {
      messageId,
      reason,
    });
  }
  if (failedMessageIds.length > 0) {
    logger.error('messages will be delivered again', { failedMessageIds });
  }
  logger.info('fan-out', { ...counts, goneQueues, dropped: dropped.length });
  metrics.addMetric(METRICS.droppedRecords, MetricUnit.Count, dropped.length);
  metrics.addMetric(METRICS.sentNotices, MetricUnit.Count, counts.sentNotices);
  metrics.addMetric(METRICS.sendRequests, MetricUnit.Count, counts.sendRequests);
  metrics.addMetric(METRICS.agentQueues, MetricUnit.Count, counts.agentQueues);
  if (counts.notices > 0) {
    metrics.addMetric(METRICS.fanOutDelay, MetricUnit.Milliseconds, counts.delayMs);
  }
  metrics.publishStoredMetrics();
}
