import type * as snsModule from '@aws-sdk/client-sns';
import type * as sqsModule from '@aws-sdk/client-sqs';
import { noticeFilter, noticeQueuePolicy, noticeTopicArn } from '../../protocol/notice-queue.ts';
import { QueueError, type SubscribeOptions } from './queue-service.ts';

/** Runs one request: counts it, and turns its error into a {@link QueueError}. */
type RunRequest = <
  T extends { readonly $metadata: sqsModule.ReceiveMessageCommandOutput['$metadata'] },
>(
  action: string,
  run: () => Promise<T>,
) => Promise<T>;

type Parts = {
  readonly sdk: typeof sqsModule;
  readonly client: sqsModule.SQSClient;
  /** Of the client for the topic. */
  readonly config: snsModule.SNSClientConfig;
};

type Topics = { readonly sdk: typeof snsModule; readonly client: snsModule.SNSClient };

/** Attributes of a subscription, by SNS's names. */
type Attributes = Readonly<Record<string, string>>;

/** Subscribes queues that agents have made to the topic of their fleet. */
export class TopicSubscriber {
  readonly #parts: Parts;
  #topics: Topics | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** As `QueueService.subscribe`. Two to four requests. */
  async subscribe(
    queueUrl: string,
    options: SubscribeOptions & { readonly request: RunRequest },
  ): Promise<'filtered' | 'unfiltered'> {
    const { queuePrefix, instance, request, signal } = options;
    const { sdk, client } = this.#parts;
    const { Attributes: queue = {} } = await request(`look at ${queueUrl}`, () =>
      client.send(
        new sdk.GetQueueAttributesCommand({
          QueueUrl: queueUrl,
          AttributeNames: ['QueueArn', 'Policy'],
        }),
        { abortSignal: signal },
      ),
    );
    const { QueueArn = '' } = queue;
    const topicArn = noticeTopicArn(queuePrefix, QueueArn);
    const Policy = JSON.stringify(noticeQueuePolicy(topicArn));
    if (queue['Policy'] !== Policy) {
      await request(`let the topic send to ${queueUrl}`, () =>
        client.send(
          new sdk.SetQueueAttributesCommand({ QueueUrl: queueUrl, Attributes: { Policy } }),
          { abortSignal: signal },
        ),
      );
    }
    const where = { topicArn, queueArn: QueueArn, request, signal };
    const raw = { RawMessageDelivery: 'true' };
    const filter = { FilterPolicy: JSON.stringify(noticeFilter(instance, [])) };
    try {
      await this.#subscribe({ ...raw, ...filter }, where);
      return 'filtered';
    } catch (error) {
      if (isReason(error, /^FilterPolicyLimitExceeded/)) {
        await this.#subscribeUnlessSubscribed(raw, where);
        return 'unfiltered';
      }
      if (isSubscribedOtherwise(error)) {
        return 'unfiltered';
      }
      throw error;
    }
  }

  close(): void {
    this.#topics?.client.destroy();
  }

  async #subscribeUnlessSubscribed(attributes: Attributes, where: Where): Promise<void> {
    try {
      await this.#subscribe(attributes, where);
    } catch (error) {
      if (!isSubscribedOtherwise(error)) {
        throw error;
      }
    }
  }

  async #subscribe(Attributes: Attributes, where: Where): Promise<void> {
    const { sdk, client } = await this.#openTopics();
    const { topicArn, queueArn, request, signal } = where;
    await request(`subscribe the queue to ${topicArn}`, () =>
      client.send(
        new sdk.SubscribeCommand({
          TopicArn: topicArn,
          Protocol: 'sqs',
          Endpoint: queueArn,
          Attributes: { ...Attributes },
        }),
        { abortSignal: signal },
      ),
    );
  }

  async #openTopics(): Promise<Topics> {
    if (this.#topics === undefined) {
      // Only here: agents whose queue the stack has made need not pay for it.
      const sdk = await import('@aws-sdk/client-sns');
      this.#topics ??= { sdk, client: new sdk.SNSClient(this.#parts.config) };
    }
    return this.#topics;
  }
}

function isReason(error: unknown, reason: RegExp): error is QueueError {
  return error instanceof QueueError && reason.test(error.reason);
}

/** The queue has a subscription, with other attributes: for want of room without the filter, or made by hand. */
function isSubscribedOtherwise(error: unknown): boolean {
  return isReason(error, /^InvalidParameter/) && /already exists/.test(error.message);
}

type Where = {
  readonly topicArn: string;
  readonly queueArn: string;
  readonly request: RunRequest;
  readonly signal: AbortSignal;
};
