import { Logger } from '@aws-lambda-powertools/logger';
import {
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  ListQueueTagsCommand,
  SQSClient,
  TagQueueCommand,
  UntagQueueCommand,
  paginateListQueues,
} from '@aws-sdk/client-sqs';
import { SyncError } from '../../protocol/errors.ts';
import { parseEnvironment } from '../shared/environment.ts';
import { SERVICES } from '../shared/metrics.ts';
import { QUEUE_SWEEPER_ENV } from '../shared/env.ts';
import { queueSweeperEnvSchema } from './env.ts';
import { type SweptQueues, UNREAD_SINCE_TAG, sweepQueues } from './sweep.ts';

const env = parseEnvironment(queueSweeperEnvSchema, process.env);
const logger = new Logger({ serviceName: SERVICES.queueSweeper });
const client = new SQSClient({});

const queues: SweptQueues = {
  async list(prefix) {
    const urls: string[] = [];
    const pages = paginateListQueues({ client, pageSize: 1000 }, { QueueNamePrefix: prefix });
    for await (const page of pages) {
      urls.push(...(page.QueueUrls ?? []));
    }
    return urls;
  },
  async state(QueueUrl) {
    const { Tags = {} } = await client.send(new ListQueueTagsCommand({ QueueUrl }));
    const { Attributes = {} } = await client.send(
      new GetQueueAttributesCommand({
        QueueUrl,
        AttributeNames: ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'],
      }),
    );
    return {
      tags: Tags,
      waiting: Number(Attributes['ApproximateNumberOfMessages'] ?? 0),
      inFlight: Number(Attributes['ApproximateNumberOfMessagesNotVisible'] ?? 0),
    };
  },
  async mark(QueueUrl, since) {
    await client.send(new TagQueueCommand({ QueueUrl, Tags: { [UNREAD_SINCE_TAG]: since } }));
  },
  async unmark(QueueUrl) {
    await client.send(new UntagQueueCommand({ QueueUrl, TagKeys: [UNREAD_SINCE_TAG] }));
  },
  async remove(QueueUrl) {
    await client.send(new DeleteQueueCommand({ QueueUrl }));
  },
};

/** Removes queues that agents have made and nobody reads any more. Runs once a day. */
export async function handler(): Promise<void> {
  const result = await sweepQueues(queues, {
    queuePrefix: env[QUEUE_SWEEPER_ENV.queuePrefix],
    nowMs: Date.now(),
    unreadDays: env[QUEUE_SWEEPER_ENV.unreadDays],
  });
  logger.info('queue sweep', { ...result });
  if (result.failed.length > 0) {
    throw new SyncError('STORAGE_FAILED', `${result.failed.length} queues could not be swept`);
  }
}
