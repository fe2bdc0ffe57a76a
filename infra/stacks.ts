/* oxlint-disable no-new -- a construct is made for its place in the tree */
import { Duration, Stack, Tags } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { noticeQueuePrefix, type SyncConfig } from './config.ts';
import { Monitoring } from './monitoring.ts';
import { SyncStack } from './sync-stack.ts';

/** The stacks of one deployment. */
export type Stacks = {
  readonly sync: SyncStack;
  /** Alarms and the dashboard. Apart, because one stack takes 500 resources, which a hundred agents and fifty databases need. */
  readonly monitoring: Stack;
};

/** Makes the stacks of one deployment. Without account and region: the templates fit any, and synth asks nobody. */
export function makeStacks(
  scope: Construct,
  { config, repositoryRoot }: { readonly config: SyncConfig; readonly repositoryRoot: string },
): Stacks {
  const id = `LightningStream-${config.stage}`;
  const sync = new SyncStack(scope, id, { config, repositoryRoot });
  const monitoring = new Stack(scope, `${id}-monitoring`, {
    description: 'LightningStream: alarms and dashboard',
  });
  const { fanOut, compaction, queueSweeper } = sync;
  new Monitoring(monitoring, 'Monitoring', {
    fanOut,
    compaction,
    queueSweeper,
    databases: config.databases,
    agents: config.agents,
    queuePrefix: noticeQueuePrefix(config.stage),
    alarmEmail: config.alarmEmail,
    alarmTopicArns: config.alarmTopicArns,
    runbookUrl: config.runbookUrl,
    compactionLag: Duration.minutes(config.compactionLagMinutes),
  });
  for (const stack of [sync, monitoring]) {
    // By them a bill can be split. No key of them may be one that agents put on their own queues.
    Tags.of(stack).add('Application', 'LightningStream');
    Tags.of(stack).add('Stage', config.stage);
  }
  return { sync, monitoring };
}
