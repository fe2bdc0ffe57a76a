import { Duration, Stack } from 'aws-cdk-lib';
import { PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { NagSuppressions } from 'cdk-nag';
import { Construct, type IDependable } from 'constructs';
import { FAN_OUT_ENV } from '../lambdas/shared/env.ts';
import { NodeFunction } from './node-function.ts';

export interface NoticeFanOutProps {
  readonly repositoryRoot: string;
  readonly queuePrefix: string;
  readonly agents: readonly string[];
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
/** AWS checks a batch as sqs:SendMessage; the emulator of the tests as sqs:SendMessageBatch, a name that AWS does not have. */
const SEND = 'sqs:SendMessage*';
const FAN_OUT_MEMORY_MIB = 256;

/** From the bucket's events to one queue per agent. */
export class NoticeFanOut extends Construct {
  readonly ingest: Queue;
  readonly deadLetters: Queue;
  readonly function: NodeFunction;
  readonly agentQueues: ReadonlyMap<string, Queue>;
  /** What must exist before the bucket may send. */
  readonly ingestPolicy: IDependable;

  constructor(scope: Construct, id: string, props: NoticeFanOutProps) {
    super(scope, id);
    const { queuePrefix, agents, noticeRetention } = props;
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
    this.agentQueues = new Map(
      agents.map((agent) => [agent, this.#agentQueue(agent, { queuePrefix, noticeRetention })]),
    );
    this.function = new NodeFunction(this, 'FanOut', {
      repositoryRoot: props.repositoryRoot,
      entry: 'lambdas/fan-out/handler.ts',
      description: 'Passes notices of new objects on to every agent but the writer',
      timeout: FAN_OUT_TIMEOUT,
      memoryMib: FAN_OUT_MEMORY_MIB,
      logRetention: props.logRetention,
      environment: {
        [FAN_OUT_ENV.queuePrefix]: queuePrefix,
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
    this.#allowSending(queuePrefix);
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

  #agentQueue(
    agent: string,
    props: Pick<NoticeFanOutProps, 'queuePrefix' | 'noticeRetention'>,
  ): Queue {
    const queue = new Queue(this, `Notices-${agent}`, {
      // A name, because agents and the fan-out find queues by it.
      queueName: `${props.queuePrefix}${agent}`,
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: props.noticeRetention,
      receiveMessageWaitTime: Duration.seconds(20),
    });
    NagSuppressions.addResourceSuppressions(queue, [
      {
        id: 'AwsSolutions-SQS3',
        reason: 'Notices are hints: an agent that missed one finds the object by listing.',
      },
    ]);
    return queue;
  }

  #allowSending(queuePrefix: string): void {
    const { function: lambda } = this.function;
    const arn = Stack.of(this).formatArn({ service: 'sqs', resource: `${queuePrefix}*` });
    lambda.addToRolePolicy(new PolicyStatement({ actions: [SEND], resources: [arn] }));
    lambda.addToRolePolicy(new PolicyStatement({ actions: ['sqs:ListQueues'], resources: ['*'] }));
    NagSuppressions.addResourceSuppressions(
      lambda,
      [
        {
          id: 'AwsSolutions-IAM5',
          reason:
            'sqs:ListQueues knows no resources; a batch is sent under the name of its action; agents may make their own queues under the common prefix.',
        },
      ],
      true,
    );
  }
}
