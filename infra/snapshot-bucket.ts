import { Duration, Fn, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { PolicyStatement, type IGrantable } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { BlockPublicAccess, Bucket, BucketEncryption, type CfnBucket } from 'aws-cdk-lib/aws-s3';
import type { Queue } from 'aws-cdk-lib/aws-sqs';
import { NagSuppressions } from 'cdk-nag';
import { Construct, type IDependable } from 'constructs';

export interface SnapshotBucketProps {
  readonly stage: string;
  /**
   * Name of a bucket that exists.
   * @default a new one
   */
  readonly existingBucket?: string | undefined;
  readonly customerKey: boolean;
}

/** The one thing that holds state: encrypted, TLS only, not public, kept when the stack goes. */
export class SnapshotBucket extends Construct {
  readonly bucketName: string;
  /** Known before the bucket exists, so that a queue's policy can name it: bucket -> policy -> queue is a line, not a circle. */
  readonly bucketArn: string;
  readonly key: Key | undefined;
  readonly #own: Bucket | undefined;
  /** The name with CloudFormation's variables in it. */
  readonly #nameText: string;

  constructor(scope: Construct, id: string, props: SnapshotBucketProps) {
    super(scope, id);
    const { account, region, partition } = Stack.of(this);
    const { existingBucket, customerKey, stage } = props;
    this.bucketName =
      existingBucket ?? `lightningstream-${stage.toLowerCase()}-${account}-${region}`;
    this.#nameText =
      existingBucket ?? `lightningstream-${stage.toLowerCase()}-\${AWS::AccountId}-\${AWS::Region}`;
    this.bucketArn = `arn:${partition}:s3:::${this.bucketName}`;
    if (existingBucket !== undefined) {
      return;
    }
    this.key = customerKey
      ? new Key(this, 'Key', { enableKeyRotation: true, removalPolicy: RemovalPolicy.RETAIN })
      : undefined;
    this.#own = new Bucket(this, 'Bucket', {
      bucketName: this.bucketName,
      ...(this.key === undefined
        ? { encryption: BucketEncryption.S3_MANAGED }
        : { encryption: BucketEncryption.KMS, encryptionKey: this.key, bucketKeyEnabled: true }),
      enforceSSL: true,
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      removalPolicy: RemovalPolicy.RETAIN,
      lifecycleRules: [
        { id: 'AbortUploads', abortIncompleteMultipartUploadAfter: Duration.days(1) },
      ],
    });
    NagSuppressions.addResourceSuppressions(this.#own, [
      {
        id: 'AwsSolutions-S1',
        reason:
          'Access logs would cost more requests than the synchronisation itself; who needs them turns on CloudTrail data events.',
      },
    ]);
  }

  /**
   * Sends an event for every new object to the queue. By the bucket's own property: CDK's addEventNotification would deploy
   * a Lambda behind a custom resource. S3 checks the queue's policy when the bucket is made, so `policy` comes first.
   */
  notify(queue: Queue, policy: IDependable, objectPrefix: string): void {
    if (this.#own === undefined) {
      return;
    }
    const bucket = this.#own.node.defaultChild as CfnBucket;
    bucket.notificationConfiguration = notificationOf(queue.queueArn, objectPrefix);
    bucket.node.addDependency(policy);
  }

  /**
   * ARN of the objects that a pattern names. As one text with variables: joined from its parts it is three times as
   * long, and a hundred agents with forty databases do not fit into a template.
   */
  objectArn(pattern: string): string {
    return Fn.sub(`arn:\${AWS::Partition}:s3:::${this.#nameText}/${pattern}`);
  }

  /**
   * The right to list what is under a prefix. Without a prefix there is no condition: it would change nothing but
   * what S3 answers to a GET of a missing key, where sources disagree between 404 and 403.
   */
  listStatement(objectPrefix: string, sid?: string): PolicyStatement {
    return new PolicyStatement({
      ...(sid === undefined ? {} : { sid }),
      actions: ['s3:ListBucket'],
      resources: [this.bucketArn],
      ...(objectPrefix === ''
        ? {}
        : { conditions: { StringLike: { 's3:prefix': `${objectPrefix}*` } } }),
    });
  }

  /** Lets a principal use the key of the bucket, where it has one. */
  grantKey(grantee: IGrantable): void {
    this.key?.grantEncryptDecrypt(grantee);
  }
}

/** Events of new objects of ours, to one queue. */
function notificationOf(
  queueArn: string,
  objectPrefix: string,
): CfnBucket.NotificationConfigurationProperty {
  const rules = [{ name: 'suffix', value: '.pb.gz' }];
  if (objectPrefix !== '') {
    rules.push({ name: 'prefix', value: objectPrefix });
  }
  return {
    queueConfigurations: [
      { event: 's3:ObjectCreated:*', queue: queueArn, filter: { s3Key: { rules } } },
    ],
  };
}
