import { Duration } from 'aws-cdk-lib';
import {
  AlarmStatusWidget,
  GraphWidget,
  type IAlarm,
  type IMetric,
  type IWidget,
  type Metric,
} from 'aws-cdk-lib/aws-cloudwatch';
import { METRICS } from '../lambdas/shared/metrics.ts';
import type { Compaction } from './compaction.ts';
import { databaseMetric, fanOutMetric } from './metrics.ts';
import type { NoticeFanOut } from './notice-fan-out.ts';

const FIVE_MINUTES = Duration.minutes(5);
/** Alarms in one widget at most. Source: CloudWatch dashboards. */
const ALARMS_SHOWN_MAX = 100;

/** The rows of the dashboard: alarms, delays, work, errors. */
export function dashboardWidgets(
  props: {
    readonly fanOut: NoticeFanOut;
    readonly compaction: Compaction;
    readonly databases: readonly string[];
  },
  alarms: readonly IAlarm[],
): IWidget[][] {
  const { fanOut, compaction, databases } = props;
  const graph = (title: string, left: IMetric[]): GraphWidget =>
    new GraphWidget({ title, left, width: 12 });
  const perDatabase = (name: string, statistic?: string): Metric[] =>
    databases.map((database) =>
      databaseMetric(name, database, { period: FIVE_MINUTES, statistic }),
    );
  const lambdas = [fanOut.function.function, compaction.function.function];
  return [
    [
      new AlarmStatusWidget({
        title: 'Alarms',
        alarms: alarms.slice(0, ALARMS_SHOWN_MAX),
        width: 24,
      }),
    ],
    [
      graph('Delay of notices, ms', [
        fanOutMetric(METRICS.fanOutDelay, FIVE_MINUTES, 'p50'),
        fanOutMetric(METRICS.fanOutDelay, FIVE_MINUTES, 'p99'),
      ]),
      graph('Notices and requests for them', [
        fanOutMetric(METRICS.publishedNotices, FIVE_MINUTES),
        fanOutMetric(METRICS.publishRequests, FIVE_MINUTES),
        fanOutMetric(METRICS.droppedRecords, FIVE_MINUTES),
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
  ];
}
