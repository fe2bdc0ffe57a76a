import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Template } from 'aws-cdk-lib/assertions';
import { ROOT, resourcesOf, stacksOf } from './synth.ts';

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
      const anchor = /#([a-z-]+)$/.exec(String(Properties['AlarmDescription']))?.[1];
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
