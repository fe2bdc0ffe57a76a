import { Logger } from '@aws-lambda-powertools/logger';
import { MetricUnit, Metrics } from '@aws-lambda-powertools/metrics';
import { PublishBatchCommand, SNSClient } from '@aws-sdk/client-sns';
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';
import { encodeNotice } from '../../protocol/notice.ts';
import { noticeAttributes } from '../../protocol/notice-queue.ts';
import { parseEnvironment } from '../shared/environment.ts';
import { METRICS, METRICS_NAMESPACE, SERVICES } from '../shared/metrics.ts';
import { FAN_OUT_ENV } from '../shared/env.ts';
import { fanOutEnvSchema } from './env.ts';
import { FanOut, type FanOutResult, type NoticeTopic } from './fan-out.ts';

const env = parseEnvironment(fanOutEnvSchema, process.env);
const logger = new Logger({ serviceName: SERVICES.fanOut });
const metrics = new Metrics({ namespace: METRICS_NAMESPACE, serviceName: SERVICES.fanOut });
const client = new SNSClient({});

const topic: NoticeTopic = {
  async publish(notices) {
    const { Failed = [] } = await client.send(
      new PublishBatchCommand({
        TopicArn: env[FAN_OUT_ENV.topicArn],
        PublishBatchRequestEntries: notices.map((notice, number) => ({
          Id: String(number),
          Message: encodeNotice(notice),
          MessageAttributes: Object.fromEntries(
            Object.entries(noticeAttributes(notice)).map(([name, StringValue]) => [
              name,
              { DataType: 'String', StringValue },
            ]),
          ),
        })),
      }),
    );
    return Failed.map(({ Id, Code, Message, SenderFault }) => ({
      number: Number(Id),
      isFinal: SenderFault === true,
      reason: `the topic refused it: ${Code} ${Message ?? ''}`.trim(),
    }));
  },
};

const fanOut = new FanOut({
  topic,
  objectPrefix: env[FAN_OUT_ENV.objectPrefix],
  nowMs: Date.now,
});

/** Takes a batch of the ingest queue and publishes its notices; answers with the messages to deliver again. */
export async function handler(event: SQSEvent): Promise<SQSBatchResponse> {
  const result = await fanOut.handle(event.Records);
  report(result);
  return {
    batchItemFailures: result.failedMessageIds.map((itemIdentifier) => ({ itemIdentifier })),
  };
}

function report(result: FanOutResult): void {
  const { dropped, failedMessageIds, failures, ...counts } = result;
  for (const { messageId, reason } of dropped) {
    logger.warn('a message on the ingest queue gives no notice and was dropped', {
      messageId,
      reason,
    });
  }
  if (failedMessageIds.length > 0) {
    logger.error('notices could not be published; the messages will be delivered again', {
      failedMessageIds,
      failures,
    });
  }
  logger.info('fan-out', { ...counts, dropped: dropped.length });
  metrics.addMetric(METRICS.droppedRecords, MetricUnit.Count, dropped.length);
  metrics.addMetric(METRICS.publishedNotices, MetricUnit.Count, counts.publishedNotices);
  metrics.addMetric(METRICS.publishRequests, MetricUnit.Count, counts.publishRequests);
  if (counts.notices > 0) {
    metrics.addMetric(METRICS.fanOutDelay, MetricUnit.Milliseconds, counts.delayMs);
  }
  metrics.publishStoredMetrics();
}
