import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Template } from 'aws-cdk-lib/assertions';
import { isAgentQueue } from '../../protocol/notice-queue.ts';
import { BASE, ROOT, resourcesOf, stacksOf } from './synth.ts';

const stacks = stacksOf({ alarmEmail: 'ops@example.com' });
const template = Template.fromStack(stacks.monitoring);
const resources = (type: string, from = template) => resourcesOf(from, type);

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
      const anchor = /#([a-z-]+)(?:"|$)/.exec(textOf(Properties['AlarmDescription']))?.[1];
      expect(anchors).toContain(anchor);
      expect(Properties['AlarmActions']).toHaveLength(1);
    }
    const emails = resources('AWS::SNS::Subscription').filter(
      ([, { Properties }]) => Properties['Protocol'] === 'email',
    );
    expect(emails.map(([, { Properties }]) => Properties['Endpoint'])).toEqual(['ops@example.com']);
  });

  test('watch dead letters, waiting messages, errors, throttles and the lag of every database', () => {
    const metrics = alarms.map(([, { Properties }]) => Properties['MetricName']);
    for (const [metric, count] of [
      ['ApproximateNumberOfMessagesVisible', 2],
      // Ingest and jobs, and the queue of each agent.
      ['ApproximateAgeOfOldestMessage', 4],
      ['NumberOfNotificationsFailed', 1],
      ['FanOutDelay', 1],
      ['Duration', 1],
      ['Errors', 3],
      ['Throttles', 2],
      ['CompactionLag', 2],
      ['UnreadableObjects', 2],
      ['FailedRuns', 2],
    ] as const) {
      expect(metrics.filter((name) => name === metric)).toHaveLength(count);
    }
  });

  test('are one for ten databases where there are many, each about the worst of them', () => {
    const databases = Array.from({ length: 25 }, (_, i) => `db${i}`);
    const many = Template.fromStack(stacksOf({ databases }).monitoring);
    const expressions = resources('AWS::CloudWatch::Alarm', many).flatMap(
      ([, { Properties }]) => (Properties['Metrics'] ?? []) as { Expression?: string }[],
    );
    const worst = expressions.flatMap(({ Expression }) => Expression ?? []);
    expect(worst.map((text) => text.split(',').length)).toEqual([10, 10, 5, 10, 10, 5, 10, 10, 5]);
    expect(worst.every((text) => text.startsWith('MAX([m0,'))).toBe(true);
  });

  test('a compaction that does not run at all is one', () => {
    const lags = alarms.filter(
      ([, { Properties }]) => Properties['MetricName'] === 'CompactionLag',
    );
    expect(lags.map(([, { Properties }]) => Properties['TreatMissingData'])).toEqual([
      'breaching',
      'breaching',
    ]);
  });
});

test('an agent that does not read its queue is an alarm, and says which', () => {
  const unread = resources('AWS::CloudWatch::Alarm').filter(([id]) => id.includes('UnreadNotices'));
  expect(unread.map(([, { Properties }]) => Properties)).toEqual(
    BASE.agents.map((agent) =>
      expect.objectContaining({
        MetricName: 'ApproximateAgeOfOldestMessage',
        Dimensions: [{ Name: 'QueueName', Value: `lightningstream-test-notices-${agent}` }],
        Threshold: 900,
        AlarmDescription: expect.stringContaining(`${agent}: An agent does not read`) as string,
      }),
    ),
  );
});

test('alarms and their end go to the topics that are there, by how soon somebody should look', () => {
  const urgent = 'arn:aws:sns:eu-west-1:111122223333:urgent';
  const later = 'arn:aws:sns:eu-west-1:111122223333:later';
  const made = Template.fromStack(stacksOf({ alarmTopicArns: { urgent, later } }).monitoring);
  const actions = (id: string) => {
    const [, alarm] = resources('AWS::CloudWatch::Alarm', made).find(([one]) =>
      one.includes(id),
    ) ?? ['', undefined];
    return [alarm?.Properties['AlarmActions'], alarm?.Properties['OKActions']];
  };
  expect(actions('UnreadNotices')).toEqual([[urgent], [urgent]]);
  expect(actions('CompactionLag')).toEqual([[urgent], [urgent]]);
  expect(actions('DroppedRecords')).toEqual([[later], [later]]);
  expect(resources('AWS::SNS::Topic', made)).toEqual([]);
});

test('everything carries the tags by which a bill is split, and queues none that agents use', () => {
  const tags = resources('AWS::SQS::Queue', Template.fromStack(stacks.sync)).map(
    ([, { Properties }]) => Properties['Tags'],
  );
  expect(tags).toHaveLength(6);
  for (const some of tags) {
    expect(some).toEqual([
      { Key: 'Application', Value: 'LightningStream' },
      { Key: 'Stage', Value: 'test' },
    ]);
    const names = Object.fromEntries((some as { Key: string }[]).map(({ Key }) => [Key, '']));
    expect(isAgentQueue(names)).toBe(false);
  }
});

test('every dead-letter queue has an alarm', () => {
  const { Outputs } = Template.fromStack(stacks.sync).toJSON() as {
    Outputs: Record<string, { Export?: { Name: string } }>;
  };
  const names = Object.values(Outputs)
    .map(({ Export }) => Export?.Name ?? '')
    .filter((name) => name.includes('DeadLetters'));
  expect(names).toHaveLength(2);
  const alarms = JSON.stringify(resources('AWS::CloudWatch::Alarm'));
  for (const name of names) {
    expect(alarms).toContain(name);
  }
});

test('there is a dashboard', () => {
  expect(resources('AWS::CloudWatch::Dashboard')).toHaveLength(1);
});

/** A text, or the parts of one that is joined, the last one at the end. */
function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value).replace(/\]*\}$/, '');
}
