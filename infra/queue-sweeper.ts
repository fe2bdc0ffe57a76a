/* oxlint-disable no-new -- a construct is made for its place in the tree */
import { Duration, Stack } from 'aws-cdk-lib';
import { Rule, Schedule } from 'aws-cdk-lib/aws-events';
import { LambdaFunction } from 'aws-cdk-lib/aws-events-targets';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { NagSuppressions } from 'cdk-nag';
import { Construct } from 'constructs';
import { QUEUE_SWEEPER_ENV } from '../lambdas/shared/env.ts';
import { NodeFunction } from './node-function.ts';

export interface QueueSweeperProps {
  readonly repositoryRoot: string;
  readonly queuePrefix: string;
  readonly unread: Duration;
  readonly logRetention: RetentionDays;
}

const SWEEPER_MEMORY_MIB = 256;

/** Once a day: removes queues that agents have made and nobody reads any more. */
export class QueueSweeper extends Construct {
  readonly function: NodeFunction;

  constructor(scope: Construct, id: string, props: QueueSweeperProps) {
    super(scope, id);
    this.function = new NodeFunction(this, 'Sweep', {
      repositoryRoot: props.repositoryRoot,
      entry: 'lambdas/queue-sweeper/handler.ts',
      description: "Removes agents' queues that nobody reads",
      timeout: Duration.minutes(5),
      memoryMib: SWEEPER_MEMORY_MIB,
      logRetention: props.logRetention,
      environment: {
        [QUEUE_SWEEPER_ENV.queuePrefix]: props.queuePrefix,
        [QUEUE_SWEEPER_ENV.unreadDays]: String(props.unread.toDays()),
      },
    });
    const { function: lambda } = this.function;
    lambda.addToRolePolicy(
      new PolicyStatement({
        actions: [
          'sqs:GetQueueAttributes',
          'sqs:ListQueueTags',
          'sqs:TagQueue',
          'sqs:UntagQueue',
          'sqs:DeleteQueue',
        ],
        resources: [
          Stack.of(this).formatArn({ service: 'sqs', resource: `${props.queuePrefix}*` }),
        ],
      }),
    );
    lambda.addToRolePolicy(new PolicyStatement({ actions: ['sqs:ListQueues'], resources: ['*'] }));
    new Rule(this, 'Daily', {
      description: 'Looks for queues of notices that nobody reads',
      schedule: Schedule.rate(Duration.days(1)),
      targets: [new LambdaFunction(lambda)],
    });
    NagSuppressions.addResourceSuppressions(
      lambda,
      [
        {
          id: 'AwsSolutions-IAM5',
          reason:
            'sqs:ListQueues knows no resources; the queues to look at are those under the common prefix.',
        },
      ],
      true,
    );
  }
}
