/* oxlint-disable no-new -- a construct is made for its place in the tree */
import { Duration } from 'aws-cdk-lib';
import {
  Alarm,
  ComparisonOperator,
  Dashboard,
  GraphWidget,
  type IMetric,
  MathExpression,
  Metric,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { NagSuppressions } from 'cdk-nag';
import { Construct } from 'constructs';
import {
  DATABASE_DIMENSION,
  METRICS,
  METRICS_NAMESPACE,
  SERVICES,
  SERVICE_DIMENSION,
} from '../lambdas/shared/metrics.ts';
import type { Compaction } from './compaction.ts';
import type { NodeFunction } from './node-function.ts';
import type { NoticeFanOut } from './notice-fan-out.ts';
import type { QueueSweeper } from './queue-sweeper.ts';

export interface MonitoringProps {
  readonly fanOut: NoticeFanOut;
  readonly compaction: Compaction;
  readonly queueSweeper: QueueSweeper;
  readonly databases: readonly string[];
  /**
   * Who gets the alarms.
   * @default nobody
   */
  readonly alarmEmail?: string | undefined;
  readonly runbookUrl: string;
  readonly compactionLag: Duration;
}

type AlarmProps = {
  readonly metric: IMetric;
  readonly threshold: number;
  /** What is wrong, in one sentence. */
  readonly says: string;
  /** Heading of its section in the runbook, as a link has it. */
  readonly runbook: string;
  readonly evaluationPeriods?: number;
  readonly missing?: TreatMissingData;
};

const MINUTE = Duration.minutes(1);
const FIVE_MINUTES = Duration.minutes(5);
/** Metrics in the expression of one alarm at most. Source: CloudWatch quotas. */
const METRICS_PER_ALARM = 10;

/** An alarm for everything that needs a person, each with its section in the runbook, and a dashboard. */
export class Monitoring extends Construct {
  readonly #props: MonitoringProps;
  readonly #topic: Topic | undefined;

  constructor(scope: Construct, id: string, props: MonitoringProps) {
    super(scope, id);
    this.#props = props;
    this.#topic = props.alarmEmail === undefined ? undefined : this.#makeTopic(props.alarmEmail);
    this.#queueAlarms();
    this.#functionAlarms('FanOut', props.fanOut.function);
    this.#functionAlarms('Compaction', props.compaction.function);
    this.#alarm('QueueSweeperErrors', {
      metric: props.queueSweeper.function.function.metricErrors({
        period: Duration.hours(1),
        statistic: 'Sum',
      }),
      threshold: 3,
      says: 'Queues that nobody reads cannot be removed.',
      runbook: 'queue-sweeper-fails',
    });
    this.#ownAlarms();
    this.#dashboard();
  }

  #makeTopic(email: string): Topic {
    const topic = new Topic(this, 'Alarms', { enforceSSL: true });
    topic.addSubscription(new EmailSubscription(email));
    NagSuppressions.addResourceSuppressions(topic, [
      {
        id: 'AwsSolutions-SNS2',
        reason:
          'CloudWatch cannot publish to a topic encrypted with the managed key; the texts hold no data.',
      },
    ]);
    return topic;
  }

  #queueAlarms(): void {
    const { fanOut, compaction, compactionLag } = this.#props;
    this.#alarm('IngestDeadLetters', {
      metric: fanOut.deadLetters.metricApproximateNumberOfMessagesVisible({ period: MINUTE }),
      threshold: 1,
      says: 'Notices could not be passed on and wait in the dead-letter queue.',
      runbook: 'notices-in-the-dead-letter-queue',
    });
    this.#alarm('JobDeadLetters', {
      metric: compaction.deadLetters.metricApproximateNumberOfMessagesVisible({ period: MINUTE }),
      threshold: 1,
      says: 'Compaction of a database has failed again and again.',
      runbook: 'compaction-jobs-in-the-dead-letter-queue',
    });
    this.#alarm('IngestAge', {
      metric: fanOut.ingest.metricApproximateAgeOfOldestMessage({ period: MINUTE }),
      threshold: 300,
      evaluationPeriods: 3,
      says: 'Notices wait for more than five minutes: agents fall back to listing.',
      runbook: 'notices-wait-too-long',
    });
    this.#alarm('JobAge', {
      metric: compaction.jobs.metricApproximateAgeOfOldestMessage({ period: FIVE_MINUTES }),
      threshold: compactionLag.toSeconds(),
      says: 'Compaction jobs wait: the Lambda does not keep up, or does not run.',
      runbook: 'compaction-jobs-wait-too-long',
    });
  }

  #functionAlarms(name: string, { function: lambda }: NodeFunction): void {
    const section = name === 'FanOut' ? 'fan-out' : 'compaction';
    this.#alarm(`${name}Errors`, {
      metric: lambda.metricErrors({ period: FIVE_MINUTES, statistic: 'Sum' }),
      threshold: 1,
      evaluationPeriods: 2,
      says: `The ${section} Lambda fails.`,
      runbook: `${section}-lambda-fails`,
    });
    this.#alarm(`${name}Throttles`, {
      metric: lambda.metricThrottles({ period: FIVE_MINUTES, statistic: 'Sum' }),
      threshold: 1,
      evaluationPeriods: 3,
      says: `The ${section} Lambda is throttled: the account's concurrency is used up.`,
      runbook: `${section}-lambda-is-throttled`,
    });
  }

  #ownAlarms(): void {
    const { databases, compactionLag } = this.#props;
    for (const database of databases) {
      this.#alarm(`CompactionLag-${database}`, {
        metric: this.#ofDatabase(METRICS.compactionLag, database, compactionLag),
        threshold: compactionLag.toSeconds(),
        // No datapoint means that compaction does not run at all.
        missing: TreatMissingData.BREACHING,
        evaluationPeriods: 2,
        says: `Objects of ${database} have not been compacted for ${compactionLag.toMinutes()} minutes.`,
        runbook: 'compaction-lags-behind',
      });
    }
    this.#alarmOfAny('Unreadable', {
      metric: (name) => this.#ofDatabase(METRICS.unreadableObjects, name, FIVE_MINUTES),
      threshold: 1,
      evaluationPeriods: 12,
      says: 'Objects of a database cannot be read: they are kept, and no tombstone is dropped.',
      runbook: 'objects-cannot-be-read',
    });
    this.#alarmOfAny('LostBase', {
      metric: (name) => this.#ofDatabase(METRICS.lostBases, name, FIVE_MINUTES),
      threshold: 1,
      says: 'The base of a database, or a part of it, was missing or damaged.',
      runbook: 'the-base-is-gone-or-damaged',
    });
    this.#alarmOfAny('FailedRuns', {
      metric: (name) => this.#ofDatabase(METRICS.failedRuns, name, Duration.hours(1), 'Sum'),
      threshold: 3,
      says: 'Compaction of a database failed three times within an hour.',
      runbook: 'compaction-runs-fail',
    });
    this.#alarm('DroppedRecords', {
      metric: this.#ofFanOut(METRICS.droppedRecords, Duration.hours(1)),
      threshold: 10,
      says: 'Something else than agents writes into the bucket or to the ingest queue.',
      runbook: 'foreign-records-are-dropped',
    });
  }

  #ofFanOut(metricName: string, period: Duration, statistic = 'Sum'): Metric {
    const dimensionsMap = { [SERVICE_DIMENSION]: SERVICES.fanOut };
    return new Metric({
      namespace: METRICS_NAMESPACE,
      metricName,
      dimensionsMap,
      period,
      statistic,
    });
  }

  #ofDatabase(
    metricName: string,
    database: string,
    period: Duration,
    statistic = 'Maximum',
  ): Metric {
    const dimensionsMap = {
      [SERVICE_DIMENSION]: SERVICES.compaction,
      [DATABASE_DIMENSION]: database,
    };
    return new Metric({
      namespace: METRICS_NAMESPACE,
      metricName,
      dimensionsMap,
      period,
      statistic,
    });
  }

  /** One alarm for each database; with many of them one for the worst of each ten, so that their number stays small. */
  #alarmOfAny(
    id: string,
    {
      metric,
      ...props
    }: Omit<AlarmProps, 'metric'> & { readonly metric: (name: string) => Metric },
  ): void {
    const { databases } = this.#props;
    if (databases.length <= METRICS_PER_ALARM) {
      for (const name of databases) {
        const says = props.says.replace('a database', name);
        this.#alarm(`${id}-${name}`, { ...props, says, metric: metric(name) });
      }
      return;
    }
    for (let at = 0; at < databases.length; at += METRICS_PER_ALARM) {
      const metrics = databases.slice(at, at + METRICS_PER_ALARM).map(metric);
      const worst = new MathExpression({
        expression: `MAX([${metrics.map((_, i) => `m${i}`).join()}])`,
        usingMetrics: Object.fromEntries(metrics.map((one, i) => [`m${i}`, one])),
        period: metrics[0]?.period ?? FIVE_MINUTES,
        label: 'the worst database',
      });
      this.#alarm(`${id}-from-${at + 1}`, { ...props, metric: worst });
    }
  }

  #alarm(id: string, props: AlarmProps): void {
    const { metric, threshold, says, runbook, evaluationPeriods = 1 } = props;
    const alarm = new Alarm(this, id, {
      metric,
      threshold,
      evaluationPeriods,
      comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: props.missing ?? TreatMissingData.NOT_BREACHING,
      alarmDescription: `${says} What to do: ${this.#props.runbookUrl}#${runbook}`,
    });
    if (this.#topic !== undefined) {
      alarm.addAlarmAction(new SnsAction(this.#topic));
    }
  }

  #dashboard(): void {
    const { fanOut, compaction, databases } = this.#props;
    const graph = (title: string, left: IMetric[]): GraphWidget =>
      new GraphWidget({ title, left, width: 12 });
    const perDatabase = (name: string, statistic?: string): Metric[] =>
      databases.map((database) => this.#ofDatabase(name, database, FIVE_MINUTES, statistic));
    const lambdas = [fanOut.function.function, compaction.function.function];
    new Dashboard(this, 'Dashboard', {
      widgets: [
        [
          graph('Delay of notices, ms', [
            this.#ofFanOut(METRICS.fanOutDelay, FIVE_MINUTES, 'p50'),
            this.#ofFanOut(METRICS.fanOutDelay, FIVE_MINUTES, 'p99'),
          ]),
          graph('Notices and requests for them', [
            this.#ofFanOut(METRICS.publishedNotices, FIVE_MINUTES),
            this.#ofFanOut(METRICS.publishRequests, FIVE_MINUTES),
            this.#ofFanOut(METRICS.droppedRecords, FIVE_MINUTES),
          ]),
        ],
        [
          graph('Compaction lag, s', perDatabase(METRICS.compactionLag)),
          graph('Objects folded and deleted', [
            ...perDatabase(METRICS.foldedObjects, 'Sum'),
            ...perDatabase(METRICS.deletedObjects, 'Sum'),
          ]),
        ],
        [
          graph('Errors and throttles', [
            ...lambdas.map((lambda) => lambda.metricErrors()),
            ...lambdas.map((lambda) => lambda.metricThrottles()),
          ]),
          graph('Waiting and dead messages', [
            fanOut.ingest.metricApproximateNumberOfMessagesVisible(),
            fanOut.deadLetters.metricApproximateNumberOfMessagesVisible(),
            compaction.jobs.metricApproximateNumberOfMessagesVisible(),
            compaction.deadLetters.metricApproximateNumberOfMessagesVisible(),
          ]),
        ],
      ],
    });
  }
}
