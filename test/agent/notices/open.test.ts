import { Registry } from 'prom-client';
import { parseConfig } from '../../../agent/config/config.ts';
import type { Logger } from '../../../agent/log/log.ts';
import { NoticeHealth } from '../../../agent/monitor/notice-health.ts';
import { NoticeMetrics } from '../../../agent/monitor/notice-metrics.ts';
import { NoticeMonitor } from '../../../agent/monitor/notice-monitor.ts';
import { openNotices } from '../../../agent/notices/open.ts';
import { SyncError } from '../../../protocol/errors.ts';
import { MemoryObjectStore } from '../../../storage/memory.ts';

const FOLDER = 'storage: {type: fs, options: {root_path: /tmp/x}}\n';
const S3 = 'storage: {type: s3, options: {bucket: b, region: eu-west-1}}\n';
const MARKED = 'storage: {type: s3, options: {bucket: b, use_update_marker: true}}\n';

function parse(text: string, instance = 'a') {
  return parseConfig(`lmdbs: {main: {path: /db}}\n${text}`, {
    fileName: 'ls.yaml',
    processEnv: {},
    hostname: 'host',
    overrides: { instance },
  }).config;
}

const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
};

/** A store that says whether it was closed. */
class ClosableStore extends MemoryObjectStore {
  closed = 0;

  override async close(): Promise<void> {
    this.closed += 1;
    await super.close();
  }
}

async function kindOf(
  text: string,
  options: { onlyOnce?: boolean; instance?: string; store?: ClosableStore } = {},
) {
  const { onlyOnce = false, instance = 'a', store = new ClosableStore() } = options;
  const config = parse(text, instance);
  const health = new NoticeHealth(config.health.storageList, Date.now);
  const notices = await openNotices(config, {
    store,
    log: silent,
    observer: new NoticeMonitor({
      health,
      metrics: new NoticeMetrics(new Registry()),
      status: { countQueueRequest: () => undefined },
    }),
    onlyOnce,
  });
  await notices.close();
  expect(health.status()).toEqual({ source: notices.source.kind, trouble: undefined });
  return notices.source.kind;
}

test.each([
  ['watch', FOLDER],
  ['poll', S3],
  ['poll', `${FOLDER}notices: {type: poll}\n`],
  ['marker', MARKED],
  ['marker', `${MARKED}notices: {direct_queue_url: "http://127.0.0.1:1/q"}\n`],
  ['queue', `${MARKED}notices: {queue_prefix: fleet-}\n`],
  ['watch', `${FOLDER}notices: {type: watch}\n`],
  ['queue', `${S3}notices: {queue_prefix: fleet-}\n`],
  ['queue', `${S3}notices: {type: sqs, queue_prefix: fleet-}\n`],
  ['queue', `${FOLDER}notices: {queue_url: "http://127.0.0.1:1/q"}\n`],
  ['poll', `${S3}notices: {type: poll, queue_prefix: fleet-}\n`],
])('the source is %s with %j', async (kind, text) => {
  expect(await kindOf(text)).toBe(kind);
});

test('only-once lists and needs no queue', async () => {
  expect(await kindOf(`${S3}notices: {queue_prefix: fleet-}\n`, { onlyOnce: true })).toBe('poll');
  expect(await kindOf(MARKED, { onlyOnce: true })).toBe('poll');
});

test('a prefix and an instance that make no name of a queue are refused', async () => {
  const instance = 'a'.repeat(80);
  await expect(
    kindOf(`${S3}notices: {queue_prefix: fleet-}\n`, { instance }),
  ).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
});

test('the store is closed with the notices, and where these cannot be opened', async () => {
  const direct = 'notices: {direct_queue_url: "http://127.0.0.1:1/q"}\n';
  for (const text of [FOLDER, MARKED, `${MARKED}${direct}`, `${S3}${direct}`]) {
    const store = new ClosableStore();
    await kindOf(text, { store });
    expect(store.closed).toBe(1);
  }
  const store = new ClosableStore();
  const named = { store, instance: 'a'.repeat(80) };
  await expect(kindOf(`${S3}notices: {queue_prefix: fleet-}\n`, named)).rejects.toThrow(
    'no name of a queue',
  );
  expect(store.closed).toBe(1);
});

test.each([
  ['{type: sqs}', 'no queue is named'],
  ['{queue_url: "http://x/q", queue_prefix: p}', 'both `queue_url` and `queue_prefix`'],
  ['{create_queue: true, queue_url: "http://x/q"}', 'needs `queue_prefix`'],
  ['{type: watch}', 'storage type fs only'],
  ['{wait_time: 30s}', 'must be 20s or less'],
  ['{wait_time: 10ms}', '1s or more'],
  ['{queue_url: "fleet-a"}', 'no URL with http:// or https://'],
  ['{endpoint_url: "https://user:geheim@host/"}', '`notices.endpoint_url` is no URL'],
  ['{type: sns}', 'must be one of'],
])('notices: %s is refused', (notices, message) => {
  let error: unknown;
  try {
    parse(`${S3}notices: ${notices}\n`);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(SyncError);
  expect((error as SyncError).message).toContain(message);
  expect((error as SyncError).message).toContain('ls.yaml:3:');
  expect((error as SyncError).message).not.toContain('geheim');
});
