import { setImmediate } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { parseConfig } from '../../../agent/config/config.ts';
import { MarkerNotices } from '../../../agent/notices/marker.ts';
import type { Logger } from '../../../agent/log/log.ts';
import { NoticeHealth } from '../../../agent/monitor/notice-health.ts';
import { NoticeMetrics } from '../../../agent/monitor/notice-metrics.ts';
import { NoticeMonitor } from '../../../agent/monitor/notice-monitor.ts';
import { openNotices } from '../../../agent/notices/open.ts';
import { openObjectStore } from '../../../agent/open-store.ts';
import { sleep } from '../../../agent/pacing/sleep.ts';
import { bytesBody } from '../../../storage/bodies.ts';
import { MemoryObjectStore } from '../../../storage/memory.ts';
import { UPDATE_MARKER } from '../../../storage/update-marker.ts';

const never = new AbortController().signal;
const FORCED_MS = 300_000;

class FailingStore extends MemoryObjectStore {
  readonly #failure: () => Error | undefined;

  constructor(failure: () => Error | undefined, requests: string[]) {
    super({ onRequest: ({ kind }) => requests.push(kind) });
    this.#failure = failure;
  }

  override async get(...parameters: Parameters<MemoryObjectStore['get']>) {
    const failure = this.#failure();
    if (failure !== undefined) {
      throw failure;
    }
    return super.get(...parameters);
  }
}

/** A source on a memory store whose looks the test lets happen one by one. */
class World {
  readonly requests: string[] = [];
  readonly log: string[] = [];
  readonly health: string[] = [];
  lists = 0;
  nowMs = 0;
  fails: Error | undefined;
  readonly inner = new FailingStore(() => this.fails, this.requests);
  readonly #stop = new AbortController();
  #resume: (() => void) | undefined;
  #paused: (() => void) | undefined;
  readonly #running: Promise<void>;

  constructor() {
    const tell = (level: string) => (_: unknown, text: string) =>
      void this.log.push(`${level} ${text}`);
    const logger: Logger = {
      debug: tell('debug'),
      info: tell('info'),
      warn: tell('warn'),
      error: tell('error'),
      child: () => logger,
    };
    const source = new MarkerNotices({
      store: this.inner,
      intervalMs: 1000,
      forceListIntervalMs: FORCED_MS,
      monotonicMs: () => this.nowMs,
      sleep: (ms, signal) =>
        new Promise((resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error));
          this.nowMs += ms;
          this.#resume = resolve;
          this.#paused?.();
        }),
      log: logger,
      onWorked: () => this.health.push('worked'),
      onFailed: () => this.health.push('failed'),
    });
    this.#running = source.run((notice) => {
      if (notice === 'list') {
        this.lists += 1;
      }
    }, this.#stop.signal);
  }

  async mark(text: string): Promise<void> {
    await this.inner.put(UPDATE_MARKER, bytesBody(Buffer.from(text, 'latin1')), never);
  }

  /** The looks so far are over; then as many more. Returns how many passes these asked for. */
  async look(times = 1): Promise<number> {
    const before = this.lists;
    for (let at = 0; at < times; at += 1) {
      if (this.#resume === undefined) {
        await new Promise<void>((resolve) => (this.#paused = resolve));
      }
      const next = new Promise<void>((resolve) => (this.#paused = resolve));
      this.#resume?.();
      await next;
    }
    return this.lists - before;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.stop());

test('an unchanged marker asks for no listing until the forced interval is over', async () => {
  await world.mark('main__up__20240131-235959-012345678__GX.pb.gz:ETAG:1:false');
  await world.look();
  world.requests.length = 0;
  expect(await world.look(FORCED_MS / 1000 - 10)).toBe(0);
  expect(new Set(world.requests)).toEqual(new Set(['load']));
  expect(await world.look(20)).toBe(1);
});

test('each change of the marker asks for one listing: by a store, by a deletion, whatever its name', async () => {
  await world.mark('a:x:1:false');
  await world.look();
  for (const text of ['a:x:2:false', 'b::3:true', 'prefix/a:y:4:false']) {
    await world.mark(text);
    expect(await world.look()).toBe(1);
    expect(await world.look(3)).toBe(0);
  }
});

test('bytes that are no text are compared as bytes', async () => {
  await world.mark('\u00fe:x:1:false');
  await world.look();
  await world.mark('\u00ff:x:1:false');
  expect(await world.look()).toBe(1);
});

test.each([
  ['missing', async () => undefined, /^info there is no update marker/],
  ['empty', () => world.mark(''), /^warn the update marker in the storage is no such text/],
  ['foreign', () => world.mark('hello'), /^warn the update marker in the storage is no such text/],
  ['huge', () => world.mark('x'.repeat(5000)), /^warn cannot read the update marker/],
  [
    'denied',
    async () => {
      world.fails = new Error('denied');
    },
    /^warn cannot read the update marker/,
  ],
])(
  'a marker that is %s: every look asks for a listing, with one line in the log',
  async (_, make, line) => {
    await make();
    await world.look();
    world.log.length = 0;
    // The start itself may have seen another trouble.
    const first = world.log.length;
    expect(await world.look(5)).toBe(5);
    expect(world.log.length - first).toBeLessThanOrEqual(1);
    await world.stop();
    world = new World();
    await make();
    await world.look(6);
    expect(world.log.filter((text) => line.test(text))).toHaveLength(1);
  },
);

test('a marker that works again is told of once, and looks cost no listings again', async () => {
  await world.mark('a:x:1:false');
  world.fails = new Error('cut off');
  await world.look(3);
  expect(world.health.at(-1)).toBe('failed');
  world.fails = undefined;
  expect(await world.look(5)).toBe(1);
  expect(world.health.at(-1)).toBe('worked');
  expect(world.log.at(-1)).toMatch(/^info listing the storage only when/);
});

describe('an agent’s configuration', () => {
  const config = (more: string) =>
    parseConfig(
      `lmdbs: {main: {path: /db}}
storage: {type: s3, options: {bucket: b, global_prefix: dns/, access_key: k, secret_key: s, endpoint_url: "http://127.0.0.1:1", use_update_marker: true}}
${more}`,
      { fileName: 'ls.yaml', processEnv: {}, hostname: 'host', overrides: {} },
    ).config;

  const DELTA = 'main__b__20240131-235959-012345678__Grx__S';

  /** A store whose markers can be made to fail. */
  class MarkerStore extends MemoryObjectStore {
    failing = false;
    readonly tries: ('written' | 'failed')[] = [];
    #tried: () => void = () => undefined;

    override async put(...parameters: Parameters<MemoryObjectStore['put']>): Promise<void> {
      this.tries.push(this.failing ? 'failed' : 'written');
      this.#tried();
      if (this.failing) {
        throw new Error('denied');
      }
      await super.put(...parameters);
    }

    /** Resolves when so many markers were tried. */
    async until(count: number): Promise<void> {
      while (this.tries.length < count) {
        await new Promise<void>((resolve) => (this.#tried = resolve));
      }
      await setImmediate();
    }
  }

  async function open(more: string, limits = config(more).health.storageList) {
    const store = new MarkerStore();
    const lines: string[] = [];
    const log = { warn: (_: unknown, text: string) => void lines.push(text) } as never;
    const health = new NoticeHealth(limits, Date.now);
    const observer = new NoticeMonitor({
      health,
      metrics: new NoticeMetrics(new Registry()),
      status: { countQueueRequest: () => undefined },
    });
    const notices = await openNotices(config(more), { store, log, observer, onlyOnce: false });
    const storeDelta = async (seq: number) => {
      const body = bytesBody(Buffer.from('x'));
      await notices.store.create(`${DELTA}${seq}.delta.pb.gz`, body, never);
    };
    return { store, lines, health, notices, storeDelta };
  }

  test('without a queue each delta has its marker', async () => {
    const { store, notices, storeDelta } = await open('');
    await storeDelta(1);
    await store.until(1);
    await storeDelta(2);
    await store.until(2);
    await notices.close();
    expect(store.tries).toEqual(['written', 'written']);
  });

  test('with a queue the deltas of a minute share one marker, and the end writes what is due', async () => {
    const { store, notices, storeDelta } = await open('notices: {queue_prefix: fleet-}');
    await storeDelta(1);
    await store.until(1);
    await storeDelta(2);
    // Longer than the pause between two markers without a queue.
    await sleep(300, never);
    await storeDelta(3);
    expect(store.tries).toEqual(['written']);
    await notices.close();
    expect(store.tries).toEqual(['written', 'written']);
  });

  test('a marker that cannot be written is named on /healthz, and logged once', async () => {
    const limits = { warnDurationMs: 0, errorDurationMs: 0, evaluationIntervalMs: 1 };
    const { store, lines, health, notices, storeDelta } = await open('', limits as never);
    store.failing = true;
    await storeDelta(1);
    await store.until(2);
    expect(store.tries).toEqual(['failed', 'failed']);
    expect(lines).toEqual([expect.stringContaining('cannot write the update marker')]);
    expect(health.checks().map(({ name, level }) => [name, level])).toEqual([
      ['update_marker_failed_duration', 'warning'],
    ]);
    store.failing = false;
    await notices.close();
    expect(health.checks()).toEqual([]);
  });

  test('opens a store that keeps the marker', async () => {
    const { storage } = config('');
    const store = await openObjectStore(
      { ...storage, options: { ...(storage.options as object), createBucket: false } as never },
      { signal: never },
    );
    expect(store.constructor.name).toBe('MarkedStore');
    await store.close();
  });
});
