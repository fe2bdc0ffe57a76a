import { Aspects } from 'aws-cdk-lib';
import { Annotations, Match, type Template } from 'aws-cdk-lib/assertions';
import { AwsSolutionsChecks } from 'cdk-nag';
import { parse } from 'yaml';
import { agentConfig } from '../../infra/agent-outputs.ts';
import { parseSyncConfig } from '../../infra/config.ts';
import { BASE, resourcesOf, stacksOf, templateOf, type Resource } from './synth.ts';

const template = templateOf({ alarmEmail: 'ops@example.com' });
const resources = (type: string, from = template) => resourcesOf(from, type);

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
    for (const stack of Object.values(stacksOf(context))) {
      Aspects.of(stack).add(new AwsSolutionsChecks({ verbose: true }));
      const found = Annotations.fromStack(stack);
      const any = Match.stringLikeRegexp('AwsSolutions-.*');
      expect(found.findError('*', any)).toEqual([]);
      expect(found.findWarning('*', any)).toEqual([]);
    }
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

  test('that carry work have a dead-letter queue', () => {
    const work = queues.filter(([id]) => /Ingest|Jobs/.test(id));
    expect(work).toHaveLength(2);
    for (const [, { Properties }] of work) {
      expect(Properties['RedrivePolicy']).toEqual({
        deadLetterTargetArn: {
          'Fn::GetAtt': [expect.stringMatching(/DeadLetters/) as string, 'Arn'],
        },
        maxReceiveCount: expect.any(Number) as number,
      });
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

  test('of agents have the names that agents look for, and forget after four hours', () => {
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

  test('the fan-out may publish on the topic, and has no access to the bucket', () => {
    const policies = resources('AWS::IAM::Policy').filter(([id]) => id.includes('FanOut'));
    const [document] = policies.map(
      ([, { Properties }]) =>
        Properties['PolicyDocument'] as {
          Statement: { Action: string | string[]; Resource: unknown }[];
        },
    );
    expect(policies).toHaveLength(1);
    const Statement = document?.Statement ?? [];
    const actions = Statement.flatMap(({ Action }) => Action);
    expect(actions.filter((action) => !/^sqs:(?!Send)/.test(action))).toEqual(['sns:Publish*']);
    const publishes = Statement.find(({ Action }) => Action === 'sns:Publish*');
    expect(JSON.stringify(publishes?.Resource)).toMatch(/Ref.*Topic/);
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

test.each([
  ['', []],
  ['dns/', [{ StringLike: { 's3:prefix': 'dns/*' } }]],
])('agents and compactor list what is under the prefix "%s"', (objectPrefix, conditions) => {
  const made = templateOf({ objectPrefix });
  const lists = ['AWS::IAM::ManagedPolicy', 'AWS::IAM::Policy']
    .flatMap((type) => resources(type, made))
    .flatMap(
      ([, { Properties }]) =>
        (Properties['PolicyDocument'] as { Statement: { Action: unknown; Condition?: object }[] })
          .Statement,
    )
    .filter(({ Action }) => Action === 's3:ListBucket');
  expect(lists).toHaveLength(BASE.agents.length + 1);
  // Without a prefix a condition would only make missing keys look forbidden.
  for (const { Condition } of lists) {
    expect(Condition === undefined ? [] : [Condition]).toEqual(conditions);
  }
});

test('every database is compacted on a schedule, in an order of its own', () => {
  const schedules = resources('AWS::Scheduler::Schedule').filter(([id]) =>
    id.startsWith('Compaction'),
  );
  expect(schedules).toHaveLength(2);
  const targets = schedules.map(([, { Properties }]) => {
    expect(Properties['ScheduleExpression']).toBe('rate(5 minutes)');
    return Properties['Target'] as {
      Input: string;
      RoleArn: unknown;
      SqsParameters: { MessageGroupId: string };
    };
  });
  expect(targets.map(({ SqsParameters }) => SqsParameters.MessageGroupId)).toEqual(BASE.databases);
  // The time makes each job another message for the deduplication of the queue.
  expect(targets.map(({ Input }) => JSON.parse(Input) as unknown)).toEqual(
    BASE.databases.map((database) => ({ database, at: '<aws.scheduler.scheduled-time>' })),
  );
  // One role for all of them, and no statement in the policy of the queue.
  expect(new Set(targets.map(({ RoleArn }) => JSON.stringify(RoleArn))).size).toBe(1);
  expect(JSON.stringify(resources('AWS::SQS::QueuePolicy'))).not.toContain('events.amazonaws.com');
});

describe('the topic', () => {
  const subscriptions = resources('AWS::SNS::Subscription').filter(
    ([, { Properties }]) => Properties['Protocol'] === 'sqs',
  );

  test('sends each agent what others say of its databases, as it was published', () => {
    expect(subscriptions.map(([, { Properties }]) => Properties)).toEqual(
      BASE.agents.map((agent) => ({
        Protocol: 'sqs',
        TopicArn: { Ref: expect.stringMatching(/^NoticesTopic/) as string },
        Endpoint: { 'Fn::GetAtt': [expect.stringMatching(/^NoticesNotices/) as string, 'Arn'] },
        RawMessageDelivery: true,
        FilterPolicy: { instance: [{ 'anything-but': [agent] }], database: BASE.databases },
      })),
    );
  });

  test('may send to the queues of all agents, and has the name that their prefix says', () => {
    expectResource('AWS::SNS::Topic', { TopicName: 'lightningstream-test-notices' });
    const allowed = resources('AWS::SQS::QueuePolicy').filter(([, { Properties }]) =>
      JSON.stringify(Properties).includes('sns.amazonaws.com'),
    );
    // One each, by the id that it always had: CloudFormation removes the policy of a queue with its resource.
    expect(allowed.map(([id]) => id)).toEqual([
      expect.stringMatching(/^NoticesNoticesa1Policy/),
      expect.stringMatching(/^NoticesNoticesb2Policy/),
    ]);
  });

  test('is subscribed before a Lambda publishes on it', () => {
    const [, fanOut] = resources('AWS::Lambda::Function').find(([id]) => id.includes('FanOut')) ?? [
      '',
      undefined,
    ];
    const { DependsOn } = fanOut as unknown as { DependsOn: string[] };
    expect(DependsOn).toEqual(expect.arrayContaining(subscriptions.map(([id]) => id)));
  });
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

  test.each([{}, { agentRoles: true, directNotices: true }])(
    'has an output for its rights, and a complete configuration from the outputs (%j)',
    (context) => {
      const found = templateOf(context).findOutputs('*') as Record<string, { Value: unknown }>;
      const outputs = Object.fromEntries(
        Object.entries(found).map(([name, { Value }]) => [name, JSON.stringify(Value)]),
      );
      const config = parseSyncConfig({ ...BASE, ...context });
      for (const agent of BASE.agents) {
        const text = agentConfig(agent, { config, outputs });
        expect(text).toMatch(/^# Rights of this host: .*Agent/);
        expect(parse(text)).toMatchObject({
          instance: agent,
          lmdbs: { main: { schema_tracks_changes: true }, shard: { schema_tracks_changes: true } },
          storage: { type: 's3', options: { bucket: expect.anything() as unknown } },
          notices: { type: 'sqs', queue_prefix: 'lightningstream-test-notices-' },
        });
      }
    },
  );

  test('may have a role with the same rights in place of the policy', () => {
    const withRoles = templateOf({ agentRoles: true });
    expect(resources('AWS::IAM::ManagedPolicy', withRoles)).toEqual([]);
    const roles = resources('AWS::IAM::Role', withRoles).filter(([id]) => id.startsWith('Agent'));
    const rights = roles.map(([, { Properties }]) => {
      const [policy] = Properties['Policies'] as { PolicyDocument: { Statement: Statement[] } }[];
      return policy?.PolicyDocument.Statement;
    });
    expect(rights).toEqual(statements);
    expect(JSON.stringify(roles)).toContain('"AWS":');
  });
});
