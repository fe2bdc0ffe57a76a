/* oxlint-disable no-new -- a construct is made for its place in the tree */
import { Duration } from 'aws-cdk-lib';
import {
  Alarm,
  ComparisonOperator,
  Dashboard,
  type IAlarm,
  type IMetric,
  MathExpression,
  type Metric,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { Topic, type ITopic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { NagSuppressions } from 'cdk-nag';
import { Construct } from 'constructs';
import { METRICS } from '../lambdas/shared/metrics.ts';
import type { Compaction } from './compaction.ts';
import { dashboardWidgets } from './dashboard.ts';
import { databaseMetric, fanOutMetric, unreadSeconds } from './metrics.ts';
import type { NodeFunction } from './node-function.ts';
import type { NoticeFanOut } from './notice-fan-out.ts';
import type { QueueSweeper } from './queue-sweeper.ts';

export interface MonitoringProps {
  readonly fanOut: NoticeFanOut;
  readonly compaction: Compaction;
  readonly queueSweeper: QueueSweeper;
  readonly databases: readonly string[];
  /** Agents whose queues the stack has made. */
  readonly agents: readonly string[];
  readonly queuePrefix: string;
  /**
   * Who gets the alarms.
   * @default nobody
   */
  readonly alarmEmail?: string | undefined;
  /** Topics that exist, by how soon somebody should look. */
  readonly alarmTopicArns: Readonly<Partial<Record<Severity, string | undefined>>>;
  readonly runbookUrl: string;
  readonly compactionLag: Duration;
}

/** How soon somebody should look: at once, or on the next day. */
type Severity = 'urgent' | 'later';

type AlarmProps = {
  /**
   * How soon somebody should look.
   * @default urgent
   */
  readonly severity?: Severity;
  /** Where to look: the name of a queue or a log group. */
  readonly where?: string;
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
/** Characters of the names in the text of such an alarm; a text has at most 1,024. */
const NAMES_MAX = 400;
/** Age of a notice at which its agent surely does not read: it takes them within a second. */
const UNREAD_SECONDS = 15 * 60;
/** Part of its time that a compaction may take before somebody should know. */
const NEAR_LIMIT = 0.8;

/** An alarm for everything that needs a person, each with its section in the runbook, and a dashboard. */
export class Monitoring extends Construct {
  readonly #props: MonitoringProps;
  readonly #alarms: IAlarm[] = [];
  readonly #topics: Readonly<Record<Severity, readonly ITopic[]>>;

  constructor(scope: Construct, id: string, props: MonitoringProps) {
    super(scope, id);
    this.#props = props;
    const mail = props.alarmEmail === undefined ? [] : [this.#makeTopic(props.alarmEmail)];
    const existing = (severity: Severity): ITopic[] => {
      const arn = props.alarmTopicArns[severity];
      return arn === undefined ? [] : [Topic.fromTopicArn(this, `Topic-${severity}`, arn)];
    };
    this.#topics = {
      urgent: [...mail, ...existing('urgent')],
      later: [...mail, ...existing('later')],
    };
    this.#queueAlarms();
    this.#functionAlarms('FanOut', props.fanOut.function);
    this.#functionAlarms('Compaction', props.compaction.function);
    this.#alarm('CompactionDuration', {
      metric: props.compaction.function.function.metricDuration({
        period: Duration.hours(1),
        statistic: 'Maximum',
      }),
      threshold: NEAR_LIMIT * props.compaction.function.timeout.toMilliseconds(),
      evaluationPeriods: 3,
      says: 'Compaction takes nearly all the time that it has.',
      runbook: 'compaction-is-near-its-limit',
      severity: 'later',
      where: logsOf(props.compaction.function),
    });
    this.#alarm('QueueSweeperErrors', {
      metric: props.queueSweeper.function.function.metricErrors({
        period: Duration.hours(1),
        statistic: 'Sum',
      }),
      threshold: 3,
      says: 'Queues cannot be subscribed, or removed though nobody reads them.',
      runbook: 'queue-sweeper-fails',
      severity: 'later',
      where: logsOf(props.queueSweeper.function),
    });
    this.#ownAlarms();
    this.#noticeAlarms();
    new Dashboard(this, 'Dashboard', { widgets: dashboardWidgets(props, this.#alarms) });
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
      severity: 'later',
      where: fanOut.deadLetters.queueName,
    });
    this.#alarm('JobDeadLetters', {
      metric: compaction.deadLetters.metricApproximateNumberOfMessagesVisible({ period: MINUTE }),
      threshold: 1,
      says: 'Compaction of a database has failed again and again.',
      runbook: 'compaction-jobs-in-the-dead-letter-queue',
      where: compaction.deadLetters.queueName,
    });
    this.#alarm('IngestAge', {
      metric: fanOut.ingest.metricApproximateAgeOfOldestMessage({ period: MINUTE }),
      threshold: 300,
      evaluationPeriods: 3,
      says: 'Notices wait for more than five minutes: agents fall back to listing.',
      runbook: 'notices-wait-too-long',
      where: fanOut.ingest.queueName,
    });
    this.#alarm('JobAge', {
      metric: compaction.jobs.metricApproximateAgeOfOldestMessage({ period: FIVE_MINUTES }),
      threshold: compactionLag.toSeconds(),
      says: 'Compaction jobs wait: the Lambda does not keep up, or does not run.',
      runbook: 'compaction-jobs-wait-too-long',
      where: compaction.jobs.queueName,
    });
  }

  /** What keeps notices from agents, behind the fan-out. */
  #noticeAlarms(): void {
    const { fanOut, agents, queuePrefix } = this.#props;
    this.#alarm('NoticeDelay', {
      metric: fanOutMetric(METRICS.fanOutDelay, FIVE_MINUTES, 'p90'),
      threshold: 10_000,
      evaluationPeriods: 3,
      says: 'Notices leave the fan-out ten seconds late or later.',
      runbook: 'notices-are-late',
      severity: 'later',
      where: logsOf(fanOut.function),
    });
    this.#alarm('NoticesRefused', {
      metric: fanOut.topic.metricNumberOfNotificationsFailed({
        period: FIVE_MINUTES,
        statistic: 'Sum',
      }),
      threshold: 1,
      evaluationPeriods: 3,
      says: 'A queue of an agent takes no notices.',
      runbook: 'a-queue-takes-no-notices',
      severity: 'later',
      where: fanOut.topic.topicName,
    });
    this.#alarmOfAny('UnreadNotices', {
      metrics: agents.map((agent) => ({ name: agent, metric: unreadSeconds(queuePrefix, agent) })),
      threshold: UNREAD_SECONDS,
      evaluationPeriods: 3,
      says: 'An agent does not read its notices: it is down, cut off, or reads another queue.',
      runbook: 'an-agent-does-not-read-its-notices',
      where: `queues ${queuePrefix}*`,
    });
  }

  #functionAlarms(name: string, node: NodeFunction): void {
    const { function: lambda } = node;
    const where = logsOf(node);
    const section = name === 'FanOut' ? 'fan-out' : 'compaction';
    this.#alarm(`${name}Errors`, {
      metric: lambda.metricErrors({ period: FIVE_MINUTES, statistic: 'Sum' }),
      threshold: 1,
      evaluationPeriods: 2,
      says: `The ${section} Lambda fails.`,
      runbook: `${section}-lambda-fails`,
      where,
    });
    this.#alarm(`${name}Throttles`, {
      metric: lambda.metricThrottles({ period: FIVE_MINUTES, statistic: 'Sum' }),
      threshold: 1,
      evaluationPeriods: 3,
      says: `The ${section} Lambda is throttled: the account's concurrency is used up.`,
      runbook: `${section}-lambda-is-throttled`,
      where,
    });
  }

  #ownAlarms(): void {
    const { databases, compaction, compactionLag } = this.#props;
    for (const database of databases) {
      this.#alarm(`CompactionLag-${database}`, {
        metric: databaseMetric(METRICS.compactionLag, database, { period: compactionLag }),
        threshold: compactionLag.toSeconds(),
        // No datapoint means that compaction does not run at all.
        missing: TreatMissingData.BREACHING,
        evaluationPeriods: 2,
        says: `Objects of ${database} have not been compacted for ${compactionLag.toMinutes()} minutes.`,
        runbook: 'compaction-lags-behind',
        where: logsOf(compaction.function),
      });
    }
    this.#alarmOfAny('Unreadable', {
      metrics: databases.map((name) => ({
        name,
        metric: databaseMetric(METRICS.unreadableObjects, name, { period: FIVE_MINUTES }),
      })),
      severity: 'later',
      where: logsOf(compaction.function),
      threshold: 1,
      evaluationPeriods: 12,
      says: 'Objects of the database cannot be read: they are kept, and no tombstone is dropped.',
      runbook: 'objects-cannot-be-read',
    });
    this.#alarmOfAny('LostBase', {
      metrics: databases.map((name) => ({
        name,
        metric: databaseMetric(METRICS.lostBases, name, { period: FIVE_MINUTES }),
      })),
      where: logsOf(compaction.function),
      threshold: 1,
      says: 'The base, or a part of it, was missing or damaged.',
      runbook: 'the-base-is-gone-or-damaged',
    });
    this.#alarmOfAny('FailedRuns', {
      metrics: databases.map((name) => ({
        name,
        metric: databaseMetric(METRICS.failedRuns, name, {
          period: Duration.hours(1),
          statistic: 'Sum',
        }),
      })),
      where: logsOf(compaction.function),
      threshold: 3,
      says: 'Compaction failed three times within an hour.',
      runbook: 'compaction-runs-fail',
    });
    this.#alarm('DroppedRecords', {
      metric: fanOutMetric(METRICS.droppedRecords, Duration.hours(1)),
      threshold: 10,
      says: 'Something else than agents writes into the bucket or to the ingest queue.',
      runbook: 'foreign-records-are-dropped',
      severity: 'later',
    });
  }

  /** One alarm for each metric; with many of them one for the worst of each ten, so that their number stays small. */
  #alarmOfAny(
    id: string,
    {
      metrics,
      ...props
    }: Omit<AlarmProps, 'metric'> & {
      readonly metrics: readonly { readonly name: string; readonly metric: Metric }[];
    },
  ): void {
    if (metrics.length <= METRICS_PER_ALARM) {
      for (const { name, metric } of metrics) {
        this.#alarm(`${id}-${name}`, { ...props, says: `${name}: ${props.says}`, metric });
      }
      return;
    }
    for (let at = 0; at < metrics.length; at += METRICS_PER_ALARM) {
      const some = metrics.slice(at, at + METRICS_PER_ALARM);
      const worst = new MathExpression({
        expression: `MAX([${some.map((_, i) => `m${i}`).join()}])`,
        usingMetrics: Object.fromEntries(some.map(({ metric }, i) => [`m${i}`, metric])),
        period: some[0]?.metric.period ?? FIVE_MINUTES,
        label: 'the worst of them',
      });
      const names = some.map(({ name }) => name).join(', ');
      const says = `One of ${names.slice(0, NAMES_MAX)}: ${props.says}`;
      this.#alarm(`${id}-from-${at + 1}`, { ...props, says, metric: worst });
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
      alarmDescription: `${says}${props.where === undefined ? '' : ` Look at ${props.where}.`} What to do: ${this.#props.runbookUrl}#${runbook}`,
    });
    this.#alarms.push(alarm);
    for (const topic of this.#topics[props.severity ?? 'urgent']) {
      alarm.addAlarmAction(new SnsAction(topic));
      alarm.addOkAction(new SnsAction(topic));
    }
  }
}

function logsOf({ function: lambda }: NodeFunction): string {
  return `log group ${lambda.logGroup.logGroupName}`;
}
