import { Duration, Stack } from 'aws-cdk-lib';
import { PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { CfnSubscription, Topic } from 'aws-cdk-lib/aws-sns';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { NagSuppressions } from 'cdk-nag';
import { Construct, type IDependable } from 'constructs';
import { FAN_OUT_ENV } from '../lambdas/shared/env.ts';
import { noticeFilter, noticeTopicName } from '../protocol/notice-queue.ts';
import { NodeFunction } from './node-function.ts';

export interface NoticeFanOutProps {
  readonly repositoryRoot: string;
  readonly queuePrefix: string;
  readonly agents: readonly string[];
  /** Databases of which the agents hear. */
  readonly databases: readonly string[];
  readonly objectPrefix: string;
  readonly noticeRetention: Duration;
  /** The bucket whose events come in. */
  readonly bucketArn: string;
  readonly logRetention: RetentionDays;
}

const FAN_OUT_TIMEOUT = Duration.seconds(30);
/** AWS recommends six times the function's timeout, so that a batch is not delivered twice while it is worked on. */
const VISIBILITY_FACTOR = 6;
const MAX_RECEIVES = 5;
/** AWS checks a batch as sns:Publish; the emulator of the tests as sns:PublishBatch, a name that AWS does not have. */
const PUBLISH = 'sns:Publish*';
const FAN_OUT_MEMORY_MIB = 256;

/** From the bucket's events, by a Lambda that understands them, to one topic and from there to one queue per agent. */
export class NoticeFanOut extends Construct {
  readonly ingest: Queue;
  readonly deadLetters: Queue;
  readonly topic: Topic;
  readonly function: NodeFunction;
  readonly agentQueues: ReadonlyMap<string, Queue>;
  /** What must exist before the bucket may send. */
  readonly ingestPolicy: IDependable;

  constructor(scope: Construct, id: string, props: NoticeFanOutProps) {
    super(scope, id);
    const { queuePrefix, agents } = props;
    this.deadLetters = new Queue(this, 'DeadLetters', {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: Duration.days(14),
    });
    this.ingest = new Queue(this, 'Ingest', {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      visibilityTimeout: Duration.seconds(FAN_OUT_TIMEOUT.toSeconds() * VISIBILITY_FACTOR),
      deadLetterQueue: { queue: this.deadLetters, maxReceiveCount: MAX_RECEIVES },
    });
    this.ingestPolicy = this.#allowBucket(props.bucketArn);
    this.topic = this.#makeTopic(queuePrefix);
    this.agentQueues = new Map(agents.map((agent) => [agent, this.#agentQueue(agent, props)]));
    const subscriptions = [...this.agentQueues].map(([agent, queue]) =>
      this.#subscribe(agent, queue, props.databases),
    );
    this.function = new NodeFunction(this, 'FanOut', {
      repositoryRoot: props.repositoryRoot,
      entry: 'lambdas/fan-out/handler.ts',
      description: 'Publishes notices of new objects to the agents',
      timeout: FAN_OUT_TIMEOUT,
      memoryMib: FAN_OUT_MEMORY_MIB,
      logRetention: props.logRetention,
      environment: {
        [FAN_OUT_ENV.topicArn]: this.topic.topicArn,
        [FAN_OUT_ENV.objectPrefix]: props.objectPrefix,
      },
    });
    this.function.function.addEventSource(
      // No batching window: a notice's delay is what the whole is about; batches form by themselves under load.
      new SqsEventSource(this.ingest, {
        batchSize: 10,
        reportBatchItemFailures: true,
        maxConcurrency: 5,
      }),
    );
    this.function.function.addToRolePolicy(
      new PolicyStatement({ actions: [PUBLISH], resources: [this.topic.topicArn] }),
    );
    NagSuppressions.addResourceSuppressions(
      this.function.function,
      [{ id: 'AwsSolutions-IAM5', reason: 'A batch is published under the name of its action.' }],
      true,
    );
    // A version that publishes must not run before the queues are subscribed: its notices would reach nobody.
    this.function.function.node.addDependency(...subscriptions);
  }

  #allowBucket(bucketArn: string): IDependable {
    this.ingest.addToResourcePolicy(
      new PolicyStatement({
        principals: [new ServicePrincipal('s3.amazonaws.com')],
        actions: ['sqs:SendMessage'],
        resources: [this.ingest.queueArn],
        conditions: {
          ArnEquals: { 'aws:SourceArn': bucketArn },
          StringEquals: { 'aws:SourceAccount': Stack.of(this).account },
        },
      }),
    );
    return this.ingest.node.findChild('Policy');
  }

  #makeTopic(queuePrefix: string): Topic {
    const topic = new Topic(this, 'Topic', {
      // A name, because agents that make their own queues subscribe them to it.
      topicName: noticeTopicName(queuePrefix),
      enforceSSL: true,
    });
    NagSuppressions.addResourceSuppressions(topic, [
      {
        id: 'AwsSolutions-SNS2',
        reason: 'Notices hold names and sizes of objects, no data; the topic keeps none of them.',
      },
    ]);
    return topic;
  }

  #agentQueue(
    agent: string,
    props: Pick<NoticeFanOutProps, 'queuePrefix' | 'noticeRetention'>,
  ): Queue {
    const queue = new Queue(this, `Notices-${agent}`, {
      // A name, because agents find their queues by it.
      queueName: `${props.queuePrefix}${agent}`,
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: props.noticeRetention,
      receiveMessageWaitTime: Duration.seconds(20),
    });
    queue.addToResourcePolicy(
      new PolicyStatement({
        principals: [new ServicePrincipal('sns.amazonaws.com')],
        actions: ['sqs:SendMessage'],
        resources: [queue.queueArn],
        conditions: { ArnEquals: { 'aws:SourceArn': this.topic.topicArn } },
      }),
    );
    NagSuppressions.addResourceSuppressions(queue, [
      {
        id: 'AwsSolutions-SQS3',
        reason: 'Notices are hints: an agent that missed one finds the object by listing.',
      },
    ]);
    return queue;
  }

  #subscribe(agent: string, queue: Queue, databases: readonly string[]): CfnSubscription {
    return new CfnSubscription(this, `Subscription-${agent}`, {
      topicArn: this.topic.topicArn,
      protocol: 'sqs',
      endpoint: queue.queueArn,
      rawMessageDelivery: true,
      filterPolicy: noticeFilter(agent, databases),
    });
  }
}
