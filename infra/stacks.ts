/* oxlint-disable no-new -- a construct is made for its place in the tree */
import { Duration, Stack } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import type { SyncConfig } from './config.ts';
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
    alarmEmail: config.alarmEmail,
    runbookUrl: config.runbookUrl,
    compactionLag: Duration.minutes(config.compactionLagMinutes),
  });
  return { sync, monitoring };
}
