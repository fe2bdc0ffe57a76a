import { CfnOutput, Stack } from 'aws-cdk-lib';
import { AccountRootPrincipal, ManagedPolicy, PolicyStatement, Role } from 'aws-cdk-lib/aws-iam';
import type { Queue } from 'aws-cdk-lib/aws-sqs';
import { NagSuppressions } from 'cdk-nag';
import { Construct } from 'constructs';
import { agentYaml } from './agent-yaml.ts';
import type { SnapshotBucket } from './snapshot-bucket.ts';

export interface AgentAccessProps {
  readonly agent: string;
  readonly databases: readonly string[];
  readonly bucket: SnapshotBucket;
  readonly objectPrefix: string;
  readonly queue: Queue;
  readonly queuePrefix: string;
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
  readonly policy: ManagedPolicy;
  readonly role: Role | undefined;

  constructor(scope: Construct, id: string, props: AgentAccessProps) {
    super(scope, id);
    this.policy = new ManagedPolicy(this, 'Policy', {
      description: `LightningStream agent ${props.agent}: own objects, own queue, no deletion`,
      statements: statementsOf(props),
    });
    props.bucket.key?.grantEncryptDecrypt(this.policy);
    NagSuppressions.addResourceSuppressions(this.policy, [
      {
        id: 'AwsSolutions-IAM5',
        reason:
          'Object names end in time and number: the wildcards stand behind database and instance. A batch is deleted under the name of its action.',
      },
    ]);
    this.role = props.role
      ? new Role(this, 'Role', {
          assumedBy: new AccountRootPrincipal(),
          description: `LightningStream agent ${props.agent}`,
          managedPolicies: [this.policy],
        })
      : undefined;
    this.#outputs(props);
  }

  #outputs(props: AgentAccessProps): void {
    const { agent } = props;
    const output = (name: string, value: string, description: string): void => {
      new CfnOutput(this, `${name}Output`, { value, description }).overrideLogicalId(
        `${name}${agent.replaceAll('-', '')}${Buffer.from(agent).toString('hex').slice(-4)}`,
      );
    };
    output('Policy', this.policy.managedPolicyArn, `Policy of agent ${agent}`);
    if (this.role !== undefined) {
      output('Role', this.role.roleArn, `Role of agent ${agent}`);
    }
    output(
      'Yaml',
      agentYaml({
        instance: agent,
        databases: props.databases,
        bucketName: props.bucket.bucketName,
        region: Stack.of(this).region,
        objectPrefix: props.objectPrefix,
        queuePrefix: props.queuePrefix,
        directQueueUrl: props.ingest?.queueUrl,
      }),
      `Configuration of agent ${agent}`,
    );
  }
}

function statementsOf(props: AgentAccessProps): PolicyStatement[] {
  const { agent, databases, bucket, objectPrefix, queue, ingest } = props;
  const at = (name: string): string => `${bucket.bucketArn}/${objectPrefix}${name}`;
  const statements = [
    new PolicyStatement({
      sid: 'List',
      actions: ['s3:ListBucket'],
      resources: [bucket.bucketArn],
      conditions: { StringLike: { 's3:prefix': `${objectPrefix}*` } },
    }),
    new PolicyStatement({ sid: 'Read', actions: ['s3:GetObject'], resources: [at('*')] }),
    new PolicyStatement({
      sid: 'PutOwn',
      actions: ['s3:PutObject', 's3:AbortMultipartUpload'],
      resources: databases.map((database) => at(`${database}__${agent}__*`)),
    }),
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
