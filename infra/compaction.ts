/* oxlint-disable no-new -- a construct is made for its place in the tree */
import { Duration, type Size } from 'aws-cdk-lib';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import {
  ContextAttribute,
  Schedule,
  ScheduleExpression,
  ScheduleTargetInput,
} from 'aws-cdk-lib/aws-scheduler';
import { SqsSendMessage } from 'aws-cdk-lib/aws-scheduler-targets';
import {
  DeduplicationScope,
  FifoThroughputLimit,
  Queue,
  QueueEncryption,
} from 'aws-cdk-lib/aws-sqs';
import { NagSuppressions } from 'cdk-nag';
import { Construct } from 'constructs';
import { COMPACTION_ENV } from '../lambdas/shared/env.ts';
import { NodeFunction } from './node-function.ts';
import type { SnapshotBucket } from './snapshot-bucket.ts';

export interface CompactionProps {
  readonly repositoryRoot: string;
  readonly bucket: SnapshotBucket;
  readonly databases: readonly string[];
  readonly objectPrefix: string;
  readonly every: Duration;
  readonly mustKeep: Duration;
  /**
   * Days after which tombstones are dropped.
   * @default never
   */
  readonly tombstoneRetentionDays?: number | undefined;
  readonly upstreamReads: boolean;
  readonly memoryMib: number;
  readonly disk: Size;
  readonly logRetention: RetentionDays;
}

const COMPACTION_TIMEOUT = Duration.minutes(5);
const VISIBILITY_FACTOR = 6;
const MAX_RECEIVES = 3;
/** A job that cannot be put on the queue is tried again; the next one of the schedule does the same work. */
const SCHEDULE_RETRIES = 3;
/** Part of the temporary disk for what is read; the rest is for what is written. */
const SPOOL_SHARE = 0.4;

/** A job per database on a schedule, one after the other per database, and the Lambda that does them. */
export class Compaction extends Construct {
  readonly jobs: Queue;
  readonly deadLetters: Queue;
  readonly function: NodeFunction;

  constructor(scope: Construct, id: string, props: CompactionProps) {
    super(scope, id);
    this.deadLetters = new Queue(this, 'DeadLetters', {
      fifo: true,
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: Duration.days(14),
    });
    this.jobs = new Queue(this, 'Jobs', {
      fifo: true,
      contentBasedDeduplication: true,
      deduplicationScope: DeduplicationScope.MESSAGE_GROUP,
      fifoThroughputLimit: FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      // The next job of the schedule does the same work: one that could not be begun for hours is of no use.
      retentionPeriod: Duration.hours(4),
      visibilityTimeout: Duration.minutes(COMPACTION_TIMEOUT.toMinutes() * VISIBILITY_FACTOR),
      deadLetterQueue: { queue: this.deadLetters, maxReceiveCount: MAX_RECEIVES },
    });
    this.function = this.#lambda(props);
    this.function.function.addEventSource(
      new SqsEventSource(this.jobs, { batchSize: 1, maxConcurrency: 5 }),
    );
    for (const database of props.databases) {
      new Schedule(this, `Schedule-${database}`, {
        description: `Compacts ${database}`,
        schedule: ScheduleExpression.rate(props.every),
        // By Scheduler's role. A rule needs a statement in the policy of the queue, which has room for about ten.
        target: new SqsSendMessage(this.jobs, {
          messageGroupId: database,
          // The time makes each message a new one: equal ones within five minutes would be dropped.
          input: ScheduleTargetInput.fromObject({ database, at: ContextAttribute.scheduledTime }),
          maxEventAge: props.every,
          retryAttempts: SCHEDULE_RETRIES,
        }),
      });
    }
  }

  #lambda(props: CompactionProps): NodeFunction {
    const { bucket, objectPrefix } = props;
    const node = new NodeFunction(this, 'Compact', {
      repositoryRoot: props.repositoryRoot,
      entry: 'lambdas/compaction/handler.ts',
      description: 'Folds deltas and snapshots into the base of a database',
      timeout: COMPACTION_TIMEOUT,
      memoryMib: props.memoryMib,
      ephemeralStorage: props.disk,
      logRetention: props.logRetention,
      environment: {
        [COMPACTION_ENV.bucket]: bucket.bucketName,
        [COMPACTION_ENV.objectPrefix]: objectPrefix,
        [COMPACTION_ENV.mustKeepSeconds]: String(props.mustKeep.toSeconds()),
        [COMPACTION_ENV.tombstoneRetentionDays]: String(props.tombstoneRetentionDays ?? 'never'),
        [COMPACTION_ENV.upstreamReads]: String(props.upstreamReads),
        [COMPACTION_ENV.spoolMib]: String(Math.floor(props.disk.toMebibytes() * SPOOL_SHARE)),
      },
    });
    const objects = bucket.objectArn(`${objectPrefix}*`);
    for (const statement of [
      bucket.listStatement(objectPrefix),
      new PolicyStatement({
        actions: ['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:AbortMultipartUpload'],
        resources: [objects],
      }),
    ]) {
      node.function.addToRolePolicy(statement);
    }
    bucket.grantKey(node.function);
    NagSuppressions.addResourceSuppressions(
      node.function,
      [
        {
          id: 'AwsSolutions-IAM5',
          reason:
            'The compactor reads, writes and deletes objects of this one bucket, under the prefix of the agents.',
        },
      ],
      true,
    );
    return node;
  }
}
