import { CfnOutput } from 'aws-cdk-lib';
import {
  AccountRootPrincipal,
  Effect,
  ManagedPolicy,
  PolicyDocument,
  PolicyStatement,
  Role,
} from 'aws-cdk-lib/aws-iam';
import type { Queue } from 'aws-cdk-lib/aws-sqs';
import { NagSuppressions } from 'cdk-nag';
import { Construct } from 'constructs';
import { accessOutputName } from './agent-outputs.ts';
import type { SnapshotBucket } from './snapshot-bucket.ts';

export interface AgentAccessProps {
  readonly agent: string;
  readonly databases: readonly string[];
  readonly bucket: SnapshotBucket;
  readonly objectPrefix: string;
  readonly queue: Queue;
  /**
   * Queue to which the agent may send direct notices.
   * @default none
   */
  readonly ingest?: Queue | undefined;
  /** Makes a role too, which principals of the account may assume. */
  readonly role: boolean;
}

/** The object that holds the bucket's random id; whoever comes first makes it. */
const BUCKET_ID_OBJECT = 'lightningstream.bucket-id.json';

/**
 * What one agent may do: read the bucket, put objects with its own name in theirs, read its own queue. Delete nothing,
 * and replace nothing of others.
 */
export class AgentAccess extends Construct {
  constructor(scope: Construct, id: string, props: AgentAccessProps) {
    super(scope, id);
    const { agent, role } = props;
    const statements = statementsOf(props);
    // In the role itself: a policy beside each role would be too many resources for a hundred agents.
    const made = role
      ? new Role(this, 'Role', {
          assumedBy: new AccountRootPrincipal(),
          description: `LightningStream agent ${agent}`,
          inlinePolicies: { Agent: new PolicyDocument({ statements }) },
        })
      : new ManagedPolicy(this, 'Policy', {
          description: `LightningStream agent ${agent}: own objects, own queue, no deletion`,
          statements,
        });
    NagSuppressions.addResourceSuppressions(made, [
      {
        id: 'AwsSolutions-IAM5',
        reason:
          'Object names end in time and number: the wildcards stand behind database and instance. A batch is deleted under the name of its action.',
      },
    ]);
    const value = made instanceof Role ? made.roleArn : made.managedPolicyArn;
    new CfnOutput(this, 'Output', { value }).overrideLogicalId(
      accessOutputName(role ? 'Role' : 'Policy', agent),
    );
  }
}

function statementsOf(props: AgentAccessProps): PolicyStatement[] {
  const { bucket, objectPrefix, queue, ingest } = props;
  const at = (name: string): string => bucket.objectArn(`${objectPrefix}${name}`);
  const statements = [
    bucket.listStatement(objectPrefix, 'List'),
    new PolicyStatement({ sid: 'Read', actions: ['s3:GetObject'], resources: [at('*')] }),
    ...putStatements(props),
    new PolicyStatement({
      sid: 'MakeBucketId',
      actions: ['s3:PutObject'],
      resources: [at(BUCKET_ID_OBJECT)],
    }),
    new PolicyStatement({
      sid: 'ReadOwnQueue',
      actions: [
        'sqs:ReceiveMessage',
        // As with sending: the batch has no name of its own in AWS.
        'sqs:DeleteMessage*',
        'sqs:ChangeMessageVisibility',
        'sqs:GetQueueUrl',
        'sqs:GetQueueAttributes',
      ],
      resources: [queue.queueArn],
    }),
  ];
  if (bucket.key !== undefined) {
    statements.push(
      new PolicyStatement({
        sid: 'UseKey',
        actions: ['kms:Decrypt', 'kms:GenerateDataKey'],
        resources: [bucket.key.keyArn],
      }),
    );
  }
  if (ingest !== undefined) {
    statements.push(
      new PolicyStatement({
        sid: 'NotifyDirectly',
        // As with deletion: a batch.
        actions: ['sqs:SendMessage*', 'sqs:GetQueueUrl'],
        resources: [ingest.queueArn],
      }),
    );
  }
  return statements;
}

/** Characters of a managed policy without white space. Source: IAM quotas. */
const POLICY_MAX = 6144;
/** At most, with the longest region and partition: all of a policy but the names of objects. */
const POLICY_FIXED = 1500;

/**
 * The right to put objects in the agent's own name: one name for each database, as long as the policy has room for
 * them. Beyond, it is one for all databases. A name of somebody else can hold the agent's, too, but only behind
 * its own database and instance: such names, with a "__" more before the agent's, are denied.
 */
function putStatements(props: AgentAccessProps): PolicyStatement[] {
  const { agent, databases, bucket, objectPrefix } = props;
  const at = (name: string): string => bucket.objectArn(`${objectPrefix}${name}`);
  const actions = ['s3:PutObject', 's3:AbortMultipartUpload'];
  const each = '"arn:aws-us-gov:s3:::/____*",'.length + 63 + objectPrefix.length + agent.length;
  const named = databases.reduce((sum, database) => sum + each + database.length, 0);
  if (POLICY_FIXED + named + 4 * objectPrefix.length <= POLICY_MAX) {
    const resources = databases.map((database) => at(`${database}__${agent}__*`));
    return [new PolicyStatement({ sid: 'PutOwn', actions, resources })];
  }
  return [
    new PolicyStatement({ sid: 'PutOwn', actions, resources: [at(`*__${agent}__*`)] }),
    new PolicyStatement({
      sid: 'NotInAnotherName',
      effect: Effect.DENY,
      actions,
      resources: [at(`*__*__${agent}__*`)],
    }),
  ];
}
