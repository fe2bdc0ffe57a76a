import { App } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { parseSyncConfig } from '../../infra/config.ts';
import { ROOT, type Resource } from './synth.ts';
import { makeStacks, type Stacks } from '../../infra/stacks.ts';

/** The longest names of a region and of a partition. */
const REGION = 'ap-southeast-2';
const PARTITION = 'aws-us-gov';
const ACCOUNT = '111122223333';

const PSEUDO: Readonly<Record<string, string>> = {
  'AWS::Region': REGION,
  'AWS::Partition': PARTITION,
  'AWS::AccountId': ACCOUNT,
};

type Synthesized = {
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs?: Readonly<Record<string, unknown>>;
};

const named = (count: number, length: number, letter: string) =>
  Array.from({ length: count }, (_, i) => `${letter}${i}-`.padEnd(length, letter));

/** Configurations at the ends of what is accepted. */
const MAXIMA: Readonly<Record<string, object>> = {
  'as much as there may be': {
    stage: 's'.repeat(15),
    agents: named(100, 40, 'a'),
    databases: named(50, 60, 'd'),
    objectPrefix: 'p'.repeat(200),
    agentRoles: true,
    directNotices: true,
    customerKey: true,
    alarmEmail: 'ops@example.com',
  },
  'as many databases as a policy can name': {
    agents: named(100, 11, 'a'),
    databases: named(36, 12, 'd'),
    objectPrefix: 'dns/',
    directNotices: true,
    customerKey: true,
  },
  'the longest stage': { stage: 's'.repeat(19), agents: named(100, 36, 'a') },
};

function synthesize(context: object): Readonly<Record<keyof Stacks, Synthesized>> {
  const app = new App({ context: { 'aws:cdk:bundling-stacks': [] } });
  const config = parseSyncConfig(context);
  const stacks = makeStacks(app, { config, repositoryRoot: ROOT });
  return Object.fromEntries(
    Object.entries(stacks).map(([name, stack]) => [name, Template.fromStack(stack).toJSON()]),
  ) as Record<keyof Stacks, Synthesized>;
}

/** A value as AWS gets it, references to resources as long as they can be. */
function resolved(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(resolved);
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  const {
    'Fn::Join': join,
    'Fn::Sub': text,
    Ref: ref,
    'Fn::GetAtt': attribute,
  } = value as Record<string, unknown>;
  if (Array.isArray(join)) {
    const [separator, parts] = join as [string, unknown[]];
    return parts.map((part) => String(resolved(part))).join(separator);
  }
  if (typeof text === 'string') {
    return text.replaceAll(/\$\{([^}]+)\}/g, (_, name: string) => PSEUDO[name] ?? name);
  }
  if (typeof ref === 'string') {
    return PSEUDO[ref] ?? 'r'.repeat(100);
  }
  // An ARN of a queue or a key.
  return attribute === undefined
    ? Object.fromEntries(Object.entries(value).map(([key, part]) => [key, resolved(part)]))
    : 'a'.repeat(140);
}

const lengthOf = (document: unknown) => JSON.stringify(resolved(document)).length;

describe.each(Object.entries(MAXIMA))('with %s', (_, context) => {
  const stacks = Object.values(synthesize(context));
  const all = stacks.flatMap(({ Resources }) => Object.values(Resources));
  const of = (type: string) => all.filter(({ Type }) => Type === type);
  const documents = (type: string) =>
    of(type).map(({ Properties }) => Properties['PolicyDocument'] as { Statement: unknown[] });

  test('a stack has at most 500 resources and 200 outputs, in a template of at most 1 MB', () => {
    for (const { Resources, Outputs = {} } of stacks) {
      expect(Object.keys(Resources).length).toBeLessThanOrEqual(500);
      expect(Object.keys(Outputs).length).toBeLessThanOrEqual(200);
      expect(JSON.stringify({ Resources, Outputs }).length).toBeLessThanOrEqual(1_000_000);
    }
  });

  test('no policy is longer than IAM takes: 6,144 characters, 10,240 in a role', () => {
    const managed = documents('AWS::IAM::ManagedPolicy').map(lengthOf);
    const inRoles = documents('AWS::IAM::Policy').map(lengthOf);
    expect(Math.max(0, ...managed)).toBeLessThanOrEqual(6144);
    expect(Math.max(0, ...inRoles)).toBeLessThanOrEqual(10_240);
    for (const { Properties } of of('AWS::IAM::Role')) {
      const inline = (Properties['Policies'] ?? []) as { PolicyDocument: unknown }[];
      const sum = inline.reduce((length, one) => length + lengthOf(one.PolicyDocument), 0);
      expect(sum).toBeLessThanOrEqual(10_240);
    }
  });

  test('no queue has a policy of more than 20 statements, 10 conditions or 8,192 bytes', () => {
    const policies = documents('AWS::SQS::QueuePolicy');
    expect(policies.length).toBeGreaterThan(0);
    for (const document of policies) {
      expect(document.Statement.length).toBeLessThanOrEqual(20);
      const conditions = document.Statement.filter((one) => 'Condition' in (one as object));
      expect(conditions.length).toBeLessThanOrEqual(10);
      expect(lengthOf(document)).toBeLessThanOrEqual(8192);
    }
  });

  test('the bucket has at most 63 letters, a queue 80, a topic 256', () => {
    const longest = (type: string, property: string) =>
      Math.max(
        ...of(type).map(({ Properties }) => String(resolved(Properties?.[property] ?? '')).length),
      );
    expect(longest('AWS::S3::Bucket', 'BucketName')).toBeLessThanOrEqual(63);
    expect(longest('AWS::SQS::Queue', 'QueueName')).toBeLessThanOrEqual(80);
    expect(longest('AWS::SNS::Topic', 'TopicName')).toBeLessThanOrEqual(256);
  });

  test('the topic has at most 200 filters, each of at most 150 combinations', () => {
    const filters = of('AWS::SNS::Subscription')
      .map(({ Properties }) => Properties['FilterPolicy'] as Record<string, unknown[]> | undefined)
      .filter((filter) => filter !== undefined);
    expect(filters.length).toBeLessThanOrEqual(200);
    for (const filter of filters) {
      const combinations = Object.values(filter).reduce(
        (product, { length }) => product * length,
        1,
      );
      expect(combinations).toBeLessThanOrEqual(150);
    }
  });

  test('no alarm is about more than ten metrics, no graph of the dashboard about more than 500', () => {
    for (const { Properties } of of('AWS::CloudWatch::Alarm')) {
      const metrics = ((Properties['Metrics'] as object[] | undefined) ?? []).filter(
        (one) => 'MetricStat' in one,
      );
      expect(metrics.length).toBeLessThanOrEqual(10);
      expect(String(resolved(Properties['AlarmDescription'])).length).toBeLessThanOrEqual(1024);
    }
    for (const { Properties } of of('AWS::CloudWatch::Dashboard')) {
      const { widgets } = JSON.parse(String(resolved(Properties['DashboardBody']))) as {
        widgets: { properties: { metrics?: unknown[] } }[];
      };
      const counts = widgets.map(({ properties }) => properties.metrics?.length ?? 0);
      expect(Math.max(...counts)).toBeLessThanOrEqual(500);
      expect(counts.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(2500);
    }
  });

  test('a Lambda has at most 4 KB of variables', () => {
    for (const { Properties } of of('AWS::Lambda::Function')) {
      expect(lengthOf(Properties['Environment'] ?? {})).toBeLessThanOrEqual(4096);
    }
  });
});

test.each([
  [{ stage: 's'.repeat(20) }, /stage/],
  [{ stage: 's'.repeat(19), agents: ['a'.repeat(37)] }, /agents: a+: .* more than 80/],
  [{ agents: ['S1'] }, /agents: S1 looks like/],
  [{ agents: ['compacted'] }, /agents: compacted is the compactor's name/],
])(
  'a configuration whose names AWS or the format would refuse is refused: %j',
  (context, message) => {
    expect(() => parseSyncConfig(context)).toThrow(message);
  },
);

describe.each([
  ['few databases', ['main', 'shard']],
  ['more databases than a policy can name', named(50, 60, 'd')],
])('an agent of a fleet with %s', (_, databases) => {
  const { Resources } = synthesize({ agents: ['ns1'], databases, objectPrefix: 'dns/' }).sync;
  const policy = Object.values(Resources).find(({ Type }) => Type === 'AWS::IAM::ManagedPolicy');
  const document = resolved(policy?.Properties['PolicyDocument']) as {
    Statement: { Effect: string; Action: string | string[]; Resource: string | string[] }[];
  };
  /** As IAM decides, for this action; the ARN of the bucket is an attribute that stands for itself. */
  const mayPut = (key: string): boolean => {
    const effects = document.Statement.filter(({ Action, Resource }) => {
      const patterns = [Resource].flat().map((arn) => arn.slice(arn.indexOf('/') + 1));
      return [Action].flat().includes('s3:PutObject') && patterns.some((one) => isLike(one, key));
    }).map(({ Effect }) => Effect);
    return effects.includes('Allow') && !effects.includes('Deny');
  };
  const [database = ''] = databases;
  const TIME = '20240131-235959-012345678';

  test.each([
    `${database}__ns1__${TIME}__Gabc__S1.delta.pb.gz`,
    `${database}__ns1__${TIME}__Gabc__S12__K11.pb.gz`,
  ])('puts its own objects: %s', (name) => {
    expect(mayPut(`dns/${name}`)).toBe(true);
  });

  test.each([
    `${database}__ns2__${TIME}__Gabc__S1.delta.pb.gz`,
    `${database}__ns2__${TIME}__Gabc__S1__ns1__x.pb.gz`,
    `${database}__ns2__${TIME}__Gns1__ns1__S1.pb.gz`,
    `${database}__ns2__ns1__${TIME}__Gabc__S1.pb.gz`,
    `${database}__ns11__${TIME}__Gabc__S1.pb.gz`,
    `${database}__compacted__${TIME}__Gabc__S1.base.pb.gz`,
    `${database}__compacted__${TIME}__Gabc__S1__ns1__.base.pb.gz`,
    `${database}__compacted.manifest.json`,
  ])('puts nothing in the name of another: %s', (name) => {
    expect(mayPut(`dns/${name}`)).toBe(false);
  });
});

/** Whether an IAM pattern matches: "*" is any text. */
function isLike(pattern: string, text: string): boolean {
  const parts = pattern
    .split('*')
    .map((part) => part.replaceAll(/[.\\^$|()[\]{}+?]/g, String.raw`\$&`));
  return new RegExp(`^${parts.join('.*')}$`).test(text);
}
