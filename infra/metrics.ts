import { Duration } from 'aws-cdk-lib';
import { Metric } from 'aws-cdk-lib/aws-cloudwatch';
import {
  DATABASE_DIMENSION,
  METRICS_NAMESPACE,
  SERVICES,
  SERVICE_DIMENSION,
} from '../lambdas/shared/metrics.ts';

/** A metric of the fan-out Lambda's own. */
export function fanOutMetric(metricName: string, period: Duration, statistic = 'Sum'): Metric {
  return new Metric({
    namespace: METRICS_NAMESPACE,
    metricName,
    dimensionsMap: { [SERVICE_DIMENSION]: SERVICES.fanOut },
    period,
    statistic,
  });
}

/** A metric of the compaction Lambda's own, of one database. */
export function databaseMetric(
  metricName: string,
  database: string,
  options: { readonly period: Duration; readonly statistic?: string | undefined },
): Metric {
  return new Metric({
    namespace: METRICS_NAMESPACE,
    metricName,
    dimensionsMap: {
      [SERVICE_DIMENSION]: SERVICES.compaction,
      [DATABASE_DIMENSION]: database,
    },
    period: options.period,
    statistic: options.statistic ?? 'Maximum',
  });
}

/** Age of the oldest notice that an agent has not taken. By name: a hundred references are a hundred outputs. */
export function unreadSeconds(queuePrefix: string, agent: string): Metric {
  return new Metric({
    namespace: 'AWS/SQS',
    metricName: 'ApproximateAgeOfOldestMessage',
    dimensionsMap: { QueueName: `${queuePrefix}${agent}` },
    period: Duration.minutes(5),
    statistic: 'Maximum',
  });
}
