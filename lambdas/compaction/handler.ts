import { Logger } from '@aws-lambda-powertools/logger';
import { MetricUnit, Metrics } from '@aws-lambda-powertools/metrics';
import type { Context, SQSEvent } from 'aws-lambda';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import type { CompactionReport } from '../../compaction/report.ts';
import { SyncError } from '../../protocol/errors.ts';
import { openS3Store } from '../../storage/s3/store.ts';
import { ScratchFolder } from '../../compaction/scratch/scratch-folder.ts';
import { parseEnvironment } from '../shared/environment.ts';
import { DATABASE_DIMENSION, METRICS, METRICS_NAMESPACE, SERVICES } from '../shared/metrics.ts';
import { COMPACTION_ENV } from '../shared/env.ts';
import { compactionEnvSchema } from './env.ts';
import { parseJob } from './job.ts';
import { policyOf, runJob } from './run-job.ts';

const env = parseEnvironment(compactionEnvSchema, process.env);
const logger = new Logger({ serviceName: SERVICES.compaction });
const metrics = new Metrics({ namespace: METRICS_NAMESPACE, serviceName: SERVICES.compaction });
const store = openS3Store({
  bucket: env[COMPACTION_ENV.bucket],
  globalPrefix: env[COMPACTION_ENV.objectPrefix],
  // Lambda always sets it. The bucket is in the stack's region.
  region: process.env['AWS_REGION'],
  endpointUrl: process.env['AWS_ENDPOINT_URL_S3'] ?? process.env['AWS_ENDPOINT_URL'],
});

/**
 * Compacts the database that a job names. What may heal by itself is left to the next job of the schedule; anything
 * else fails the message, which ends in the dead-letter queue.
 */
export async function handler(event: SQSEvent, context: Context): Promise<void> {
  for (const { body } of event.Records) {
    const job = parseJob(body);
    try {
      const report = await runJob(job, {
        store: await store,
        policy: policyOf(env),
        remainingMs: context.getRemainingTimeInMillis(),
        openScratch: () => ScratchFolder.open(tmpdir()),
        nowNs: () => BigInt(Date.now()) * 1_000_000n,
        monotonicMs: () => performance.now(),
        random: randomBytes,
        writer: 'lightningstream compaction',
      });
      reportRun(report);
    } catch (error) {
      reportFailure(job.database, error);
      if (!(error instanceof SyncError) || !error.retryable) {
        throw error;
      }
    }
  }
}

function reportRun(report: CompactionReport): void {
  const { deleted, unreadable, ...rest } = report;
  for (const { name, reason } of unreadable) {
    logger.warn('an object could not be read and stays', { name, reason });
  }
  for (const name of rest.setAside) {
    logger.warn('an object came back after tombstones were dropped and is left alone', { name });
  }
  if (rest.lostBase !== undefined) {
    logger.error('a published object is missing or damaged, what is listed becomes a new base', {
      name: rest.lostBase,
    });
  }
  if (rest.failedDeletes > 0) {
    logger.error('objects could not be deleted', { failedDeletes: rest.failedDeletes });
  }
  if (rest.baseWaits) {
    logger.warn('a base is due and did not fit into the time or the temporary disk of a run');
  }
  logger.info('compaction', { ...rest, deletedObjects: deleted.length });
  metrics.addDimension(DATABASE_DIMENSION, report.database);
  metrics.addMetric(METRICS.compactionLag, MetricUnit.Seconds, report.lagMs / 1000);
  metrics.addMetric(METRICS.foldedObjects, MetricUnit.Count, report.foldedObjects);
  metrics.addMetric(METRICS.deletedObjects, MetricUnit.Count, deleted.length);
  metrics.addMetric(METRICS.unreadableObjects, MetricUnit.Count, unreadable.length);
  metrics.addMetric(METRICS.setAsideObjects, MetricUnit.Count, rest.setAside.length);
  metrics.addMetric(METRICS.lostBases, MetricUnit.Count, rest.lostBase === undefined ? 0 : 1);
  metrics.addMetric(METRICS.storedEntries, MetricUnit.Count, report.entries);
  const isFailed = report.outcome === 'out-of-time' || report.outcome === 'unknown';
  metrics.addMetric(METRICS.failedRuns, MetricUnit.Count, isFailed || rest.baseWaits ? 1 : 0);
  metrics.publishStoredMetrics();
}

function reportFailure(database: string, error: unknown): void {
  const hint = error instanceof SyncError ? error.hint : undefined;
  logger.error('compaction failed', { database, hint, error: error as Error });
  metrics.addDimension(DATABASE_DIMENSION, database);
  metrics.addMetric(METRICS.failedRuns, MetricUnit.Count, 1);
  metrics.publishStoredMetrics();
}
