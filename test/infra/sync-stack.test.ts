import { App, Aspects } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { AwsSolutionsChecks } from 'cdk-nag';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import { parseSyncConfig } from '../../infra/config.ts';
import { SyncStack } from '../../infra/sync-stack.ts';

const ROOT = resolve(__dirname, '../..');
const BASE = { stage: 'test', agents: ['a1', 'b-2'], databases: ['main', 'shard'] };

type Resource = { readonly Type: string; readonly Properties: Record<string, unknown> };

function makeStack(context: object = {}): SyncStack {
  // Without bundling, and without the CDK's own check of each template, which takes most of the time: `cdk synth` has
  // both. Here the templates are what is looked at.
  const app = new App({
    context: { 'aws:cdk:bundling-stacks': [] },
    builtinCloudFormationValidation: false,
  });
  const config = parseSyncConfig({ ...BASE, ...context });
  return new SyncStack(app, 'Test', { config, repositoryRoot: ROOT });
}

function templateOf(context: object = {}): Template {
  return Template.fromStack(makeStack(context));
}

const template = templateOf({ alarmEmail: 'ops@example.com' });

function resources(type: string, from = template): [string, Resource][] {
  return Object.entries(from.findResources(type)) as [string, Resource][];
}

function expectResourceIn(from: Template, type: string, properties: object): void {
  expect(() => from.hasResourceProperties(type, properties)).not.toThrow();
}

function expectResource(type: string, properties: object): void {
  expectResourceIn(template, type, properties);
}

test('cdk-nag has nothing to say that is not answered with a reason', () => {
  for (const context of [
    { alarmEmail: 'ops@example.com' },
    { customerKey: true, agentRoles: true },
  ]) {
    const stack = makeStack(context);
    Aspects.of(stack).add(new AwsSolutionsChecks({ verbose: true }));
    const found = Annotations.fromStack(stack);
    const any = Match.stringLikeRegexp('AwsSolutions-.*');
    expect(found.findError('*', any)).toEqual([]);
    expect(found.findWarning('*', any)).toEqual([]);
  }
});

test('there is no Lambda but the three of ours: no custom resource', () => {
  expect(resources('AWS::Lambda::Function')).toHaveLength(3);
  expect(
    Object.values(template.toJSON()['Resources'] as Record<string, Resource>),
  ).not.toContainEqual(
    expect.objectContaining({ Type: expect.stringMatching(/^Custom::|CustomResource/) as string }),
  );
});

describe('the bucket', () => {
  test('is encrypted, not public, kept, and gives up stale uploads', () => {
    expectResource('AWS::S3::Bucket', {
      BucketEncryption: {
        ServerSideEncryptionConfiguration: [
          { ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } },
        ],
      },
      PublicAccessBlockConfiguration: {
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      },
      LifecycleConfiguration: {
        Rules: [Match.objectLike({ AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 } })],
      },
    });
    const [, bucket] = resources('AWS::S3::Bucket')[0] ?? [];
    expect(bucket).toMatchObject({ DeletionPolicy: 'Retain', UpdateReplacePolicy: 'Retain' });
  });

  test('refuses everything without TLS', () => {
    expectResource('AWS::S3::BucketPolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Effect: 'Deny',
            Action: 's3:*',
            Condition: { Bool: { 'aws:SecureTransport': 'false' } },
          }),
        ]),
      },
    });
  });

  test('tells the ingest queue about new objects, and is made after the policy that allows it', () => {
    const [, bucket] = resources('AWS::S3::Bucket')[0] ?? [];
    expect(bucket?.Properties['NotificationConfiguration']).toEqual({
      QueueConfigurations: [
        {
          Event: 's3:ObjectCreated:*',
          Filter: { S3Key: { Rules: [{ Name: 'suffix', Value: '.pb.gz' }] } },
          Queue: { 'Fn::GetAtt': [expect.stringMatching(/Ingest/) as string, 'Arn'] },
        },
      ],
    });
    const depends = (bucket as unknown as { DependsOn: string[] }).DependsOn;
    expect(depends).toContainEqual(expect.stringMatching(/IngestPolicy/));
  });

  test('may have a key of the account, which agents and compactor may use', () => {
    const withKey = templateOf({ customerKey: true });
    expectResourceIn(withKey, 'AWS::KMS::Key', { EnableKeyRotation: true });
    const policies = JSON.stringify([
      ...resources('AWS::IAM::ManagedPolicy', withKey),
      ...resources('AWS::IAM::Policy', withKey),
    ]);
    expect(policies.match(/kms:GenerateDataKey/g)?.length).toBeGreaterThanOrEqual(3);
  });

  test('may be one that exists: then none is made and the target of its notification is an output', () => {
    const other = templateOf({ existingBucket: 'mine' });
    expect(resources('AWS::S3::Bucket', other)).toEqual([]);
    expect(other.findOutputs('IngestQueueArn')).not.toEqual({});
    expect(other.findOutputs('BucketName')).toMatchObject({ BucketName: { Value: 'mine' } });
  });
});

describe('queues', () => {
  const queues = resources('AWS::SQS::Queue');

  test('are encrypted, and refuse everything without TLS', () => {
    expect(queues).toHaveLength(6);
    const denied = JSON.stringify(resources('AWS::SQS::QueuePolicy'));
    for (const [id, queue] of queues) {
      expect(queue.Properties['SqsManagedSseEnabled']).toBe(true);
      expect(denied).toContain(id);
    }
    for (const [, { Properties }] of resources('AWS::SQS::QueuePolicy')) {
      expect(JSON.stringify(Properties)).toContain('"aws:SecureTransport":"false"');
    }
  });

  test('that carry work have a dead-letter queue with an alarm', () => {
    const alarms = JSON.stringify(resources('AWS::CloudWatch::Alarm'));
    const work = queues.filter(([id]) => /Ingest|Jobs/.test(id));
    expect(work).toHaveLength(2);
    for (const [, { Properties }] of work) {
      const redrive = Properties['RedrivePolicy'] as {
        deadLetterTargetArn: { 'Fn::GetAtt': string[] };
      };
      expect(alarms).toContain(redrive.deadLetterTargetArn['Fn::GetAtt'][0]);
    }
  });

  test('hide a message for six times as long as its Lambda may take', () => {
    const fed = resources('AWS::Lambda::Function').filter(([id]) => !id.startsWith('QueueSweeper'));
    const timeouts = fed.map(([, { Properties }]) => Properties['Timeout']);
    const visible = queues.map(([, { Properties }]) => Properties['VisibilityTimeout']);
    for (const timeout of timeouts) {
      expect(visible).toContain(6 * Number(timeout));
    }
  });

  test('of agents have the names that the fan-out looks for, and forget after four hours', () => {
    for (const agent of BASE.agents) {
      expectResource('AWS::SQS::Queue', {
        QueueName: `lightningstream-test-notices-${agent}`,
        MessageRetentionPeriod: 4 * 3600,
      });
    }
    expectResource('AWS::Lambda::Function', {
      Environment: { Variables: { NOTICE_QUEUE_PREFIX: 'lightningstream-test-notices-' } },
    });
  });

  test('of jobs are FIFO, and only the bucket of this account may send events', () => {
    expectResource('AWS::SQS::Queue', {
      FifoQueue: true,
      ContentBasedDeduplication: true,
    });
    expectResource('AWS::SQS::QueuePolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Principal: { Service: 's3.amazonaws.com' },
            Condition: Match.objectLike({
              ArnEquals: Match.anyValue(),
              StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } },
            }),
          }),
        ]),
      },
    });
  });
});

describe('Lambdas', () => {
  test('are arm64 on a current Node, small, and their logs end', () => {
    for (const [, { Properties }] of resources('AWS::Lambda::Function')) {
      expect(Properties).toMatchObject({ Architectures: ['arm64'], Runtime: 'nodejs24.x' });
      expect(Properties['MemorySize']).toBeLessThanOrEqual(1024);
      expect(Properties['LoggingConfig']).toBeDefined();
    }
    for (const [, { Properties }] of resources('AWS::Logs::LogGroup')) {
      expect(Properties['RetentionInDays']).toBe(14);
    }
  });

  test('the fan-out may send to the queues of the fleet, and has no access to the bucket', () => {
    const policies = resources('AWS::IAM::Policy').filter(([id]) => id.includes('FanOut'));
    const text = JSON.stringify(policies);
    expect(policies).toHaveLength(1);
    expect(text).not.toContain('s3:');
    expect(text).toContain('lightningstream-test-notices-*');
  });

  test('the compactor has no right outside the bucket and its jobs', () => {
    const policy = resources('AWS::IAM::Policy').find(([id]) => id.includes('Compact'));
    const document = policy?.[1].Properties['PolicyDocument'] as {
      Statement: { Action: string | string[] }[];
    };
    const actions = document.Statement.flatMap(({ Action }) => Action);
    expect(
      actions.filter((action) => action.startsWith('s3:')).toSorted((a, b) => (a < b ? -1 : 1)),
    ).toEqual([
      's3:AbortMultipartUpload',
      's3:DeleteObject',
      's3:GetObject',
      's3:ListBucket',
      's3:PutObject',
    ]);
    expect(actions.every((action) => /^(?:s3|sqs):/.test(action))).toBe(true);
  });

  test('report which messages of a batch failed', () => {
    expectResource('AWS::Lambda::EventSourceMapping', {
      BatchSize: 10,
      FunctionResponseTypes: ['ReportBatchItemFailures'],
    });
  });
});

test('every database is compacted on a schedule, in an order of its own', () => {
  const rules = resources('AWS::Events::Rule').filter(([id]) => id.startsWith('Compaction'));
  expect(rules).toHaveLength(2);
  for (const [, { Properties }] of rules) {
    expect(Properties['ScheduleExpression']).toBe('rate(5 minutes)');
  }
  const groups = rules.map(([, { Properties }]) => {
    const [target] = Properties['Targets'] as { SqsParameters: { MessageGroupId: string } }[];
    return target?.SqsParameters.MessageGroupId;
  });
  expect(groups).toEqual(BASE.databases);
});

describe('an agent', () => {
  type Statement = { Action: string | string[]; Resource: unknown; Sid: string };
  const statements = resources('AWS::IAM::ManagedPolicy').map(
    ([, { Properties }]) => (Properties['PolicyDocument'] as { Statement: Statement[] }).Statement,
  );

  test('may put only objects with its own name, and delete nothing', () => {
    expect(statements).toHaveLength(2);
    for (const [at, list] of statements.entries()) {
      const actions = list.flatMap(({ Action }) => Action);
      expect(actions.filter((action) => /Delete(?!Message)|Tagging|Acl/.test(action))).toEqual([]);
      const put = list.find(({ Sid }) => Sid === 'PutOwn');
      const names = (JSON.stringify(put?.Resource).match(/\/[a-z]+__[^"]*/g) ?? []).map(String);
      const agent = BASE.agents[at];
      expect(names).toEqual([`/main__${agent}__*`, `/shard__${agent}__*`]);
    }
  });

  test('reads only its own queue', () => {
    for (const [at, list] of statements.entries()) {
      const queueArn = JSON.stringify(list.find(({ Sid }) => Sid === 'ReadOwnQueue')?.Resource);
      expect(queueArn).toContain(`Notices${(BASE.agents[at] ?? '').replace('-', '')}`);
      expect(list.flatMap(({ Action }) => Action)).not.toContain('sqs:SendMessage');
    }
  });

  test('may notify directly only where the configuration says so', () => {
    const direct = JSON.stringify(
      resources('AWS::IAM::ManagedPolicy', templateOf({ directNotices: true })),
    );
    expect(direct).toContain('sqs:SendMessage*');
  });

  test('finds its configuration, complete, in an output', () => {
    const outputs = template.findOutputs('*') as Record<
      string,
      { Value: unknown; Description?: string }
    >;
    for (const agent of BASE.agents) {
      const output = Object.values(outputs).find(
        ({ Description }) => Description === `Configuration of agent ${agent}`,
      );
      const yaml = parse(resolveJoin(output?.Value)) as Record<string, unknown>;
      expect(yaml).toMatchObject({
        instance: agent,
        lmdbs: { main: { schema_tracks_changes: true }, shard: { schema_tracks_changes: true } },
        storage: {
          type: 's3',
          options: {
            bucket: 'lightningstream-test-AWS::AccountId-AWS::Region',
            region: 'AWS::Region',
          },
        },
        notices: { type: 'sqs', queue_prefix: 'lightningstream-test-notices-' },
      });
    }
  });

  test('may have a role besides its policy', () => {
    const roles = resources('AWS::IAM::Role', templateOf({ agentRoles: true }));
    const ofAgents = roles.filter(
      ([, { Properties }]) => 'ManagedPolicyArns' in Properties && 'Description' in Properties,
    );
    expect(ofAgents).toHaveLength(2);
    expect(JSON.stringify(ofAgents)).toContain('"AWS":');
  });
});

describe('alarms', () => {
  const alarms = resources('AWS::CloudWatch::Alarm');

  test('each have a section in the runbook, and all go to the address', () => {
    const runbook = readFileSync(join(ROOT, 'docs/runbook.md'), 'utf8');
    const anchors = [...runbook.matchAll(/^## (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^a-z0-9 -]/g, '')
        .replaceAll(' ', '-'),
    );
    expect(alarms.length).toBeGreaterThan(10);
    for (const [, { Properties }] of alarms) {
      const anchor = /#([a-z-]+)$/.exec(String(Properties['AlarmDescription']))?.[1];
      expect(anchors).toContain(anchor);
      expect(Properties['AlarmActions']).toHaveLength(1);
    }
    expectResource('AWS::SNS::Subscription', {
      Protocol: 'email',
      Endpoint: 'ops@example.com',
    });
  });

  test('watch dead letters, waiting messages, errors, throttles and the lag of every database', () => {
    const metrics = alarms.map(([, { Properties }]) => Properties['MetricName']);
    for (const [metric, count] of [
      ['ApproximateNumberOfMessagesVisible', 2],
      ['ApproximateAgeOfOldestMessage', 2],
      ['Errors', 3],
      ['Throttles', 2],
      ['CompactionLag', 2],
      ['UnreadableObjects', 2],
      ['FailedRuns', 2],
    ] as const) {
      expect(metrics.filter((name) => name === metric)).toHaveLength(count);
    }
  });

  test('a compaction that does not run at all is one', () => {
    expectResource('AWS::CloudWatch::Alarm', {
      MetricName: 'CompactionLag',
      TreatMissingData: 'breaching',
    });
  });
});

test('there is a dashboard', () => {
  expect(resources('AWS::CloudWatch::Dashboard')).toHaveLength(1);
});

/** The text of Fn::Join, with references by name. */
function resolveJoin(value: unknown): string {
  if (typeof value === 'string') {
    return value;
  }
  const join = (value as { 'Fn::Join'?: [string, unknown[]] })['Fn::Join'];
  if (join !== undefined) {
    return join[1].map(resolveJoin).join(join[0]);
  }
  return String((value as { Ref?: string }).Ref);
}
