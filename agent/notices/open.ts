import { errorText, SyncError } from '../../protocol/errors.ts';
import { noticeQueueName } from '../../protocol/notice-queue.ts';
import { proxyEnvironment } from '../../storage/http/proxy-rules.ts';
import type { KeyReload } from '../../storage/http/key-reload.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { requireStorageOptions, type Config } from '../config/config.ts';
import type { Logger } from '../log/log.ts';
import { findMarkerOptions, markedStore } from '../open-store.ts';
import { backoff } from '../pacing/backoff.ts';
import { sleep } from '../pacing/sleep.ts';
import { AnnouncingStore, DirectNotices } from './direct.ts';
import { MarkerNotices, markerReports } from './marker.ts';
import type { NoticeObserver } from './observer.ts';
import { PollNotices } from './poll.ts';
import { QueueNotices, type QueueChoice } from './queue.ts';
import type { QueueService } from './queue-service.ts';
import type { NoticeSource } from './source.ts';
import { sqsOptions } from './sqs-options.ts';
import { WatchNotices } from './watch.ts';

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
  /** As it was opened. It is closed with the notices, and where these cannot be opened. */
  readonly store: ObjectStore;
  readonly log: Logger;
  readonly observer: NoticeObserver;
  /** Only-once lists once: it needs no queue, and must not make one. */
  readonly onlyOnce: boolean;
  /** Says when the keys of the storage, which may be those of the queues, are to be taken anew. */
  readonly keyReload?: KeyReload | undefined;
};

/** What tells of new objects, and what tells others of ours. */
export type Notices = {
  readonly source: NoticeSource;
  /** The store to work with: it keeps the update marker and announces what it stored, where that is configured. */
  readonly store: ObjectStore;
  /** After the source has ended: sends what waits, closes the store and then the queues. */
  readonly close: () => Promise<void>;
};

/** Opens the configured notice source; no request yet. Errors: CONFIG_INVALID. */
export async function openNotices(config: Config, deps: NoticeDeps): Promise<Notices> {
  try {
    const choice = deps.onlyOnce ? undefined : chooseQueue(config);
    const queues =
      choice === undefined && config.notices.directQueueUrl === ''
        ? undefined
        : await openQueues(config, deps);
    const source =
      choice === undefined || queues === undefined
        ? createStorageSource(config, deps)
        : createQueueSource(config, { queues, choice, deps });
    deps.observer.uses(source.kind);
    const store = announcedStore(config, { kind: source.kind, queues, deps });
    return { source, store, close: () => closeBoth(store, queues) };
  } catch (error) {
    await deps.store.close();
    throw error;
  }
}

/** The store with all that tells others of its objects: upstream's update marker, and direct notices. */
function announcedStore(
  config: Config,
  parts: { kind: NoticeSource['kind']; queues: QueueService | undefined; deps: NoticeDeps },
): ObjectStore {
  const { kind, queues, deps } = parts;
  const { store, log, observer } = deps;
  const marked = markedStore(store, config.storage, {
    // Agents of ours hear of deltas by their queues; upstream does not read them.
    ownObjectsGapMs: kind === 'queue' ? MARKER_GAP_MS : 0,
    ...markerReports(observer, log),
  });
  const queueUrl = config.notices.directQueueUrl;
  if (queues === undefined || queueUrl === '') {
    return marked;
  }
  return new AnnouncingStore(
    marked,
    new DirectNotices({ queues, queueUrl, now: Date.now, sleep, log }),
  );
}

async function closeBoth(store: ObjectStore, queues: QueueService | undefined): Promise<void> {
  try {
    await store.close();
  } finally {
    queues?.close();
  }
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
  return { kind: 'name', name, create: createQueue, prefix: queuePrefix, instance };
}

function createQueueSource(
  config: Config,
  parts: { queues: QueueService; choice: QueueChoice; deps: NoticeDeps },
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
    onReceived: (report) => deps.observer.received(report),
    onWorked: () => deps.observer.worked(),
    onFailed: (error) => deps.observer.failed(error),
  });
}

/** What asks for listings: by upstream's update marker, by watching the folder, or in a loop. */
function createStorageSource(config: Config, deps: NoticeDeps): NoticeSource {
  const { store, log, observer, onlyOnce } = deps;
  const marker = findMarkerOptions(config.storage);
  // Only-once lists once anyway.
  if (marker === undefined || onlyOnce) {
    return createLocalSource(config, deps);
  }
  return new MarkerNotices({
    store,
    intervalMs: config.storagePollIntervalMs,
    forceListIntervalMs: marker.forceListIntervalMs,
    sleep,
    monotonicMs: () => performance.now(),
    log,
    onWorked: () => observer.worked(),
    onFailed: (error) => observer.failed(error),
  });
}

function createLocalSource(config: Config, { log, observer }: NoticeDeps): NoticeSource {
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
      observer.failed(error);
      log.warn({ error: errorText(error) }, 'cannot watch the storage folder, listing it instead');
    },
    onWatching: () => observer.worked(),
  });
}

async function openQueues(
  config: Config,
  { observer, keyReload }: NoticeDeps,
): Promise<QueueService> {
  const { openSqs } = await import('./sqs.ts');
  const { connection, ...options } = sqsOptions(config);
  return openSqs({
    ...options,
    connection: connection && { ...connection, keyReload },
    proxies: proxyEnvironment(process.env),
    onRequest: (report) => observer.requested(report),
  });
}
