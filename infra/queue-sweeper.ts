/* oxlint-disable no-new -- a construct is made for its place in the tree */
import { Duration, Stack } from 'aws-cdk-lib';
import { PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Schedule, ScheduleExpression } from 'aws-cdk-lib/aws-scheduler';
import { LambdaInvoke } from 'aws-cdk-lib/aws-scheduler-targets';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { NagSuppressions } from 'cdk-nag';
import { Construct } from 'constructs';
import { QUEUE_SWEEPER_ENV } from '../lambdas/shared/env.ts';
import { NodeFunction } from './node-function.ts';

export interface QueueSweeperProps {
  readonly repositoryRoot: string;
  readonly queuePrefix: string;
  readonly topic: ITopic;
  readonly unread: Duration;
  readonly logRetention: RetentionDays;
}

const SWEEPER_MEMORY_MIB = 256;

/** Hourly: removes queues that agents have made and nobody reads any more, and subscribes those that are not. */
export class QueueSweeper extends Construct {
  readonly function: NodeFunction;

  constructor(scope: Construct, id: string, props: QueueSweeperProps) {
    super(scope, id);
    this.function = new NodeFunction(this, 'Sweep', {
      repositoryRoot: props.repositoryRoot,
      entry: 'lambdas/queue-sweeper/handler.ts',
      description: "Removes agents' queues that nobody reads, and mends subscriptions",
      timeout: Duration.minutes(5),
      memoryMib: SWEEPER_MEMORY_MIB,
      logRetention: props.logRetention,
      environment: {
        [QUEUE_SWEEPER_ENV.topicArn]: props.topic.topicArn,
        [QUEUE_SWEEPER_ENV.queuePrefix]: props.queuePrefix,
        [QUEUE_SWEEPER_ENV.unreadDays]: String(props.unread.toDays()),
      },
    });
    this.#allowSweeping(props);
    new Schedule(this, 'Hourly', {
      description: 'Looks for queues of notices that nobody reads, or that are not subscribed',
      schedule: ScheduleExpression.rate(Duration.hours(1)),
      target: new LambdaInvoke(this.function.function, {
        role: this.#scheduleRole().withoutPolicyUpdates(),
      }),
    });
  }

  /** May run this function and nothing else; the target's own grant would name all versions of it, too. */
  #scheduleRole(): Role {
    const statement = new PolicyStatement({
      actions: ['lambda:InvokeFunction'],
      resources: [this.function.function.functionArn],
    });
    return new Role(this, 'ScheduleRole', {
      assumedBy: new ServicePrincipal('scheduler.amazonaws.com'),
      inlinePolicies: { Invoke: new PolicyDocument({ statements: [statement] }) },
    });
  }

  #allowSweeping({ queuePrefix, topic }: QueueSweeperProps): void {
    const { function: lambda } = this.function;
    const allow = (actions: string[], resource: string): void => {
      lambda.addToRolePolicy(new PolicyStatement({ actions, resources: [resource] }));
    };
    allow(
      [
        'sqs:GetQueueUrl',
        'sqs:GetQueueAttributes',
        'sqs:SetQueueAttributes',
        'sqs:ListQueueTags',
        'sqs:TagQueue',
        'sqs:UntagQueue',
        'sqs:DeleteQueue',
      ],
      Stack.of(this).formatArn({ service: 'sqs', resource: `${queuePrefix}*` }),
    );
    allow(['sqs:ListQueues'], '*');
    allow(['sns:ListSubscriptionsByTopic', 'sns:Subscribe'], topic.topicArn);
    // AWS knows no resource for this action.
    allow(['sns:Unsubscribe'], '*');
    NagSuppressions.addResourceSuppressions(
      lambda,
      [
        {
          id: 'AwsSolutions-IAM5',
          reason:
            'sqs:ListQueues and sns:Unsubscribe know no resources; the queues to look at are those under the common prefix.',
        },
      ],
      true,
    );
  }
}
