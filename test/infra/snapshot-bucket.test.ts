import { Match, type Template } from 'aws-cdk-lib/assertions';
import { BASE, resourcesOf, stacksOf, templateOf } from './synth.ts';

const template = templateOf();
const resources = (type: string, from = template) => resourcesOf(from, type);

function expectResourceIn(from: Template, type: string, properties: object): void {
  expect(() => from.hasResourceProperties(type, properties)).not.toThrow();
}

function expectResource(type: string, properties: object): void {
  expectResourceIn(template, type, properties);
}

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
        Rules: Match.arrayWith([
          Match.objectLike({ AbortIncompleteMultipartUpload: { DaysAfterInitiation: 1 } }),
        ]),
      },
    });
    const [, bucket] = resources('AWS::S3::Bucket')[0] ?? [];
    // Not even the stack is deleted by mistake. A first deployment that fails leaves no bucket in the way of the next.
    expect(bucket).toMatchObject({
      DeletionPolicy: 'RetainExceptOnCreate',
      UpdateReplacePolicy: 'Retain',
    });
    expect(stacksOf().sync.terminationProtection).toBe(true);
  });

  test.each([14, 3])('keeps what was deleted for %d days, and no longer', (noncurrentDays) => {
    expectResourceIn(templateOf({ noncurrentDays }), 'AWS::S3::Bucket', {
      VersioningConfiguration: { Status: 'Enabled' },
      LifecycleConfiguration: {
        Rules: Match.arrayWith([
          Match.objectLike({
            Status: 'Enabled',
            ExpiredObjectDeleteMarker: true,
            NoncurrentVersionExpiration: { NoncurrentDays: noncurrentDays },
          }),
        ]),
      },
    });
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

  test.each([{}, { existingBucket: 'mine' }])(
    'may have a key that exists, which agents and compactor may use (%j)',
    (context) => {
      const customerKey =
        'arn:aws:kms:eu-west-1:111122223333:key/12345678-1234-1234-1234-123456789012';
      const withKey = templateOf({ ...context, customerKey });
      expect(resources('AWS::KMS::Key', withKey)).toEqual([]);
      const users = ['AWS::IAM::ManagedPolicy', 'AWS::IAM::Policy'].flatMap((type) =>
        resources(type, withKey).filter((one) => JSON.stringify(one).includes(customerKey)),
      );
      expect(users).toHaveLength(BASE.agents.length + 1);
    },
  );

  test('may be one that exists: then none is made and the target of its notification is an output', () => {
    const other = templateOf({ existingBucket: 'mine' });
    expect(resources('AWS::S3::Bucket', other)).toEqual([]);
    expect(other.findOutputs('IngestQueueArn')).not.toEqual({});
    expect(other.findOutputs('BucketName')).toMatchObject({ BucketName: { Value: 'mine' } });
  });
});
