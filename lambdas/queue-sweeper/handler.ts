import { Logger } from '@aws-lambda-powertools/logger';
import {
  SNSClient,
  SubscribeCommand,
  UnsubscribeCommand,
  paginateListSubscriptionsByTopic,
} from '@aws-sdk/client-sns';
import {
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ListQueueTagsCommand,
  QueueDoesNotExist,
  SQSClient,
  SetQueueAttributesCommand,
  TagQueueCommand,
  UntagQueueCommand,
  paginateListQueues,
} from '@aws-sdk/client-sqs';
import { SyncError } from '../../protocol/errors.ts';
import { noticeFilter, noticeQueuePolicy } from '../../protocol/notice-queue.ts';
import { parseEnvironment } from '../shared/environment.ts';
import { SERVICES } from '../shared/metrics.ts';
import { QUEUE_SWEEPER_ENV } from '../shared/env.ts';
import { queueSweeperEnvSchema } from './env.ts';
import { type SweptQueues, UNREAD_SINCE_TAG, sweepQueues } from './sweep.ts';

const env = parseEnvironment(queueSweeperEnvSchema, process.env);
const TopicArn = env[QUEUE_SWEEPER_ENV.topicArn];
const logger = new Logger({ serviceName: SERVICES.queueSweeper });
const sqs = new SQSClient({});
const sns = new SNSClient({});

const queues: SweptQueues = {
  async list(prefix) {
    const urls: string[] = [];
    const pages = paginateListQueues({ client: sqs, pageSize: 1000 }, { QueueNamePrefix: prefix });
    for await (const page of pages) {
      urls.push(...(page.QueueUrls ?? []));
    }
    return urls;
  },
  async state(QueueUrl) {
    const { Tags = {} } = await sqs.send(new ListQueueTagsCommand({ QueueUrl }));
    const attributes = await attributesOf(QueueUrl);
    return {
      queueArn: attributes['QueueArn'] ?? '',
      tags: Tags,
      waiting: Number(attributes['ApproximateNumberOfMessages'] ?? 0),
      inFlight: Number(attributes['ApproximateNumberOfMessagesNotVisible'] ?? 0),
    };
  },
  async mark(QueueUrl, since) {
    await sqs.send(new TagQueueCommand({ QueueUrl, Tags: { [UNREAD_SINCE_TAG]: since } }));
  },
  async unmark(QueueUrl) {
    await sqs.send(new UntagQueueCommand({ QueueUrl, TagKeys: [UNREAD_SINCE_TAG] }));
  },
  async remove(QueueUrl) {
    await sqs.send(new DeleteQueueCommand({ QueueUrl }));
  },
  async subscriptions() {
    const found = new Map<string, string>();
    for await (const { Subscriptions = [] } of paginateListSubscriptionsByTopic(
      { client: sns },
      { TopicArn },
    )) {
      for (const { Protocol, Endpoint, SubscriptionArn } of Subscriptions) {
        if (Protocol === 'sqs' && Endpoint !== undefined && SubscriptionArn !== undefined) {
          found.set(Endpoint, SubscriptionArn);
        }
      }
    }
    return found;
  },
  async subscribe(QueueUrl, instance) {
    const Policy = JSON.stringify(noticeQueuePolicy(TopicArn));
    await sqs.send(new SetQueueAttributesCommand({ QueueUrl, Attributes: { Policy } }));
    await sns.send(
      new SubscribeCommand({
        TopicArn,
        Protocol: 'sqs',
        Endpoint: (await attributesOf(QueueUrl))['QueueArn'],
        Attributes: {
          RawMessageDelivery: 'true',
          FilterPolicy: JSON.stringify(noticeFilter(instance, [])),
        },
      }),
    );
  },
  async unsubscribe(SubscriptionArn) {
    await sns.send(new UnsubscribeCommand({ SubscriptionArn }));
  },
  async exists(queueArn) {
    try {
      await sqs.send(new GetQueueUrlCommand({ QueueName: queueArn.split(':').at(-1) }));
      return true;
    } catch (error) {
      if (error instanceof QueueDoesNotExist) {
        return false;
      }
      throw error;
    }
  },
};

async function attributesOf(QueueUrl: string): Promise<Partial<Record<string, string>>> {
  const { Attributes = {} } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }),
  );
  return Attributes;
}

/** Removes agents' queues that nobody reads, and mends subscriptions. */
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
