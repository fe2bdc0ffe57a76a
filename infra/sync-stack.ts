/* oxlint-disable no-new -- a construct is made for its place in the tree */
import { CfnOutput, Duration, Size, Stack, type StackProps } from 'aws-cdk-lib';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';
import { AgentAccess } from './agent-access.ts';
import { Compaction } from './compaction.ts';
import { noticeQueuePrefix, type SyncConfig } from './config.ts';
import { NoticeFanOut } from './notice-fan-out.ts';
import { QueueSweeper } from './queue-sweeper.ts';
import { SnapshotBucket } from './snapshot-bucket.ts';

export interface SyncStackProps extends StackProps {
  readonly config: SyncConfig;
  /** Folder with package.json and lambdas/. */
  readonly repositoryRoot: string;
}

const LOG_RETENTION = {
  7: RetentionDays.ONE_WEEK,
  14: RetentionDays.TWO_WEEKS,
  30: RetentionDays.ONE_MONTH,
  90: RetentionDays.THREE_MONTHS,
} as const;

/** What works in AWS: bucket, notices, compaction, and what each agent may do. */
export class SyncStack extends Stack {
  readonly fanOut: NoticeFanOut;
  readonly compaction: Compaction;
  readonly queueSweeper: QueueSweeper;

  constructor(scope: Construct, id: string, props: SyncStackProps) {
    super(scope, id, {
      description: 'LightningStream: one bucket, notices to every agent, compaction',
      ...props,
    });
    const { config, repositoryRoot } = props;
    const { databases, objectPrefix, stage } = config;
    const queuePrefix = noticeQueuePrefix(stage);
    const logRetention = LOG_RETENTION[config.logDays];
    const bucket = new SnapshotBucket(this, 'Snapshots', {
      stage,
      existingBucket: config.existingBucket,
      customerKey: config.customerKey,
    });
    const fanOut = new NoticeFanOut(this, 'Notices', {
      repositoryRoot,
      queuePrefix,
      agents: config.agents,
      databases,
      objectPrefix,
      noticeRetention: Duration.hours(config.noticeRetentionHours),
      bucketArn: bucket.bucketArn,
      logRetention,
    });
    bucket.notify(fanOut.ingest, fanOut.ingestPolicy, objectPrefix);
    const compaction = new Compaction(this, 'Compaction', {
      repositoryRoot,
      bucket,
      databases,
      objectPrefix,
      every: Duration.minutes(config.compactionMinutes),
      mustKeep: Duration.seconds(Math.round(config.mustKeepMinutes * 60)),
      tombstoneRetentionDays: config.tombstoneRetentionDays,
      upstreamReads: config.upstreamReads,
      memoryMib: config.compactionMemoryMib,
      disk: Size.mebibytes(config.compactionDiskMib),
      logRetention,
    });
    const queueSweeper = new QueueSweeper(this, 'QueueSweeper', {
      repositoryRoot,
      queuePrefix,
      topic: fanOut.topic,
      unread: Duration.days(config.unreadQueueDays),
      logRetention,
    });
    for (const [agent, queue] of fanOut.agentQueues) {
      new AgentAccess(this, `Agent-${agent}`, {
        agent,
        databases,
        bucket,
        objectPrefix,
        queue,
        ingest: config.directNotices ? fanOut.ingest : undefined,
        role: config.agentRoles,
      });
    }
    this.fanOut = fanOut;
    this.compaction = compaction;
    this.queueSweeper = queueSweeper;
    this.#outputs({ bucket, fanOut, compaction, queueSweeper, queuePrefix });
  }

  #outputs(made: {
    bucket: SnapshotBucket;
    fanOut: NoticeFanOut;
    compaction: Compaction;
    queueSweeper: QueueSweeper;
    queuePrefix: string;
  }): void {
    const { bucket, fanOut, compaction, queueSweeper, queuePrefix } = made;
    new CfnOutput(this, 'BucketName', { value: bucket.bucketName });
    new CfnOutput(this, 'Region', { value: this.region });
    new CfnOutput(this, 'QueuePrefix', { value: queuePrefix });
    new CfnOutput(this, 'NoticeTopicArn', { value: fanOut.topic.topicArn });
    new CfnOutput(this, 'IngestQueueUrl', { value: fanOut.ingest.queueUrl });
    new CfnOutput(this, 'IngestQueueArn', {
      value: fanOut.ingest.queueArn,
      description: 'Target of the notification of an existing bucket: ObjectCreated, suffix .pb.gz',
    });
    new CfnOutput(this, 'IngestDeadLettersUrl', { value: fanOut.deadLetters.queueUrl });
    new CfnOutput(this, 'CompactionJobsUrl', { value: compaction.jobs.queueUrl });
    new CfnOutput(this, 'CompactionDeadLettersUrl', { value: compaction.deadLetters.queueUrl });
    new CfnOutput(this, 'CompactionFunction', { value: compaction.function.function.functionName });
    new CfnOutput(this, 'QueueSweeperFunction', {
      value: queueSweeper.function.function.functionName,
    });
    new CfnOutput(this, 'FanOutFunction', { value: fanOut.function.function.functionName });
  }
}
