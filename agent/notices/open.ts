import { errorText, SyncError } from '../../protocol/errors.ts';
import { noticeQueueName } from '../../protocol/notice-queue.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { proxyEnvironment } from '../../storage/http/proxy-rules.ts';
import { backoff, sleep } from '../pacing/backoff.ts';
import { requireStorageOptions, type Config } from '../config/config.ts';
import { AnnouncingStore, DirectNotices } from './direct.ts';
import type { Logger } from '../log/log.ts';
import type { NoticeHealth } from '../monitor/notice-health.ts';
import type { NoticeMetrics } from '../monitor/notice-metrics.ts';
import type { NoticeQueues, QueueRequestReport } from './queue-service.ts';
import { MarkerNotices, markerReports } from './marker.ts';
import { PollNotices, WatchNotices, type NoticeSource } from './watch.ts';
import type { SqsOptions } from './sqs.ts';
import { findMarkerOptions, type MarkerKeeping } from '../open-store.ts';
import { QueueNotices, type QueueChoice } from './queue.ts';

/** How often a watched folder is checked for being another one. */
const WATCH_CHECK_MS = 10_000;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 20_000;
/**
 * How far the update marker may lag behind our deltas while this agent reads a queue.
 * Only agents of ours that read the marker instead of a queue notice the delay.
 */
const MARKER_GAP_MS = 60_000;

export type NoticeDeps = {
  readonly log: Logger;
  readonly metrics: NoticeMetrics;
  readonly health: NoticeHealth;
  readonly countRequest: (report: QueueRequestReport) => void;
  /** Only-once lists once: it needs no queue, and must not make one. */
  readonly onlyOnce: boolean;
};

/** What tells of new objects, and what tells others of ours. Close it after the source has ended. */
export type Notices = {
  readonly source: NoticeSource;
  /** How the opened store is to keep the update marker, where that is configured. */
  readonly marker: MarkerKeeping;
  /** The store to work with: it announces what it stored where that is wanted. To be called before the source runs. */
  readonly announcing: (store: ObjectStore) => ObjectStore;
  readonly close: () => void;
};

/** Opens the configured notice source; no request yet. Errors: CONFIG_INVALID. */
export async function openNotices(config: Config, deps: NoticeDeps): Promise<Notices> {
  const notices = await openSource(config, deps);
  const { kind } = notices.source;
  deps.health.uses(kind);
  // Agents of ours hear of deltas by their queues; upstream does not read them.
  const ownObjectsGapMs = kind === 'queue' ? MARKER_GAP_MS : 0;
  return { ...notices, marker: { ownObjectsGapMs, ...markerReports(deps.health, deps.log) } };
}

async function openSource(config: Config, deps: NoticeDeps): Promise<Omit<Notices, 'marker'>> {
  const { directQueueUrl } = config.notices;
  const choice = deps.onlyOnce ? undefined : chooseQueue(config);
  const marker = choice === undefined ? findMarkerNotices(config, deps) : undefined;
  const connected = (store: ObjectStore) => {
    marker?.connect(store);
    return store;
  };
  if (choice === undefined && directQueueUrl === '') {
    const source = marker ?? createLocalSource(config, deps);
    return { source, announcing: connected, close: () => undefined };
  }
  const queues = await openQueues(config, deps);
  const { log } = deps;
  return {
    source:
      choice === undefined
        ? (marker ?? createLocalSource(config, deps))
        : createQueueSource(config, { queues, choice, deps }),
    announcing: (store) =>
      directQueueUrl === ''
        ? connected(store)
        : new AnnouncingStore(
            connected(store),
            new DirectNotices({ queues, queueUrl: directQueueUrl, now: Date.now, sleep, log }),
          ),
    close: () => queues.close(),
  };
}

function chooseQueue({ notices, instance }: Config): QueueChoice | undefined {
  const { type, queueUrl, queuePrefix, createQueue } = notices;
  if (type === 'poll' || type === 'watch') {
    return undefined;
  }
  if (queueUrl !== '') {
    return { kind: 'url', url: queueUrl };
  }
  if (queuePrefix === '') {
    return undefined;
  }
  const name = noticeQueueName(queuePrefix, instance);
  if (name === undefined) {
    throw new SyncError(
      'CONFIG_INVALID',
      `notices.queue_prefix and the instance make no name of a queue: ${queuePrefix}${instance}`,
      { hint: 'Use letters, digits, "-" and "_", together 80 at most.' },
    );
  }
  return { kind: 'name', name, create: createQueue, instance };
}

function createQueueSource(
  config: Config,
  parts: { queues: NoticeQueues; choice: QueueChoice; deps: NoticeDeps },
): NoticeSource {
  const { queues, choice, deps } = parts;
  return new QueueNotices({
    queues,
    queue: choice,
    waitTimeMs: config.notices.waitTimeMs,
    safetyIntervalMs: config.storageSafetyListIntervalMs,
    pollIntervalMs: config.storagePollIntervalMs,
    sleep,
    backoff: backoff({ minMs: FIRST_RETRY_MS, maxMs: LONGEST_RETRY_MS, random: Math.random }),
    now: Date.now,
    monotonicMs: () => performance.now(),
    log: deps.log,
    onReceived: (report) => deps.metrics.onReceived(report),
    onWorked: () => deps.health.worked(),
    onFailed: (error) => deps.health.failed(error),
  });
}

/** undefined: no update marker is to be looked at. */
function findMarkerNotices(
  config: Config,
  { log, health, onlyOnce }: NoticeDeps,
): MarkerNotices | undefined {
  const marker = findMarkerOptions(config.storage);
  // Only-once lists once anyway.
  if (marker === undefined || onlyOnce) {
    return undefined;
  }
  return new MarkerNotices({
    intervalMs: config.storagePollIntervalMs,
    forceListIntervalMs: marker.forceListIntervalMs,
    sleep,
    monotonicMs: () => performance.now(),
    log,
    onWorked: () => health.worked(),
    onFailed: (error) => health.failed(error),
  });
}

function createLocalSource(config: Config, { log, health }: NoticeDeps): NoticeSource {
  const options = requireStorageOptions(config.storage);
  if (options.type !== 'fs' || config.notices.type === 'poll') {
    return new PollNotices({ intervalMs: config.storagePollIntervalMs, sleep });
  }
  return new WatchNotices({
    rootPath: options.rootPath,
    safetyIntervalMs: config.storageSafetyListIntervalMs,
    checkIntervalMs: WATCH_CHECK_MS,
    sleep,
    onWatchFailed: (error) => {
      health.failed(error);
      log.warn({ error: errorText(error) }, 'cannot watch the storage folder, listing it instead');
    },
    onWatching: () => health.worked(),
  });
}

async function openQueues(config: Config, deps: NoticeDeps): Promise<NoticeQueues> {
  const { openSqs } = await import('./sqs.ts');
  return openSqs({
    ...sqsOptions(config),
    proxies: proxyEnvironment(process.env),
    onRequest: (report) => {
      deps.metrics.onRequest(report);
      deps.countRequest(report);
    },
  });
}

/**
 * Where the queues are and with which keys. Keys and TLS of the storage are used for SQS only where both are one
 * provider's: keys for one service are not shown to another. Errors: CONFIG_INVALID.
 */
export function sqsOptions(config: Config): Omit<SqsOptions, 'onRequest'> {
  const { notices } = config;
  const queueUrl = notices.queueUrl || notices.directQueueUrl;
  const storage = requireStorageOptions(config.storage);
  const s3 = storage.type === 's3' ? storage : undefined;
  const isShared =
    s3 !== undefined && providerOf(s3.endpointUrl) === providerOf(notices.endpointUrl || queueUrl);
  return {
    region: notices.region || awsRegionOf(queueUrl) || s3?.region || '',
    endpointUrl: notices.endpointUrl,
    queueUrl,
    connection: isShared ? s3 : undefined,
  };
}

function providerOf(url: string): string {
  if (url === '' || /^https?:\/\/[^/]*\.amazonaws\.com(?:\.cn)?(?:\/|$)/.test(url)) {
    return 'AWS';
  }
  return URL.canParse(url) ? new URL(url).origin : url;
}

/** The region in `https://sqs.REGION.amazonaws.com/…`. */
function awsRegionOf(queueUrl: string): string | undefined {
  return /^https?:\/\/sqs\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?\//.exec(queueUrl)?.[1];
}
