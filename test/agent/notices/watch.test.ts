import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { PollNotices } from '../../../agent/notices/poll.ts';
import type { NoticeSource } from '../../../agent/notices/source.ts';
import { WatchNotices, type WatchHandlers } from '../../../agent/notices/watch.ts';
import type { FilesystemObjectStore } from '../../../storage/folder/store.ts';
import { openFilesystemStore } from '../../../storage/folder/store.ts';
import { bodyOf } from '../../support/object-store-conformance.ts';

type Notice = readonly string[] | 'list';

/** Sleeps that end when the test says so. */
class ManualSleep {
  readonly #waiting: (() => void)[] = [];
  #onWait: (() => void) | undefined;

  readonly sleep = (_delayMs: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      this.#waiting.push(resolve);
      signal.addEventListener('abort', () => reject(signal.reason as Error));
      this.#onWait?.();
    });

  /** Ends the pause that is under way, and returns when the next one has begun. */
  async pass(): Promise<void> {
    const next = new Promise<void>((resolve) => (this.#onWait = resolve));
    this.#waiting.shift()?.();
    await next;
  }
}

/** Runs a source and collects what it says. */
class Listener {
  readonly notices: Notice[] = [];
  readonly #controller = new AbortController();
  readonly #running: Promise<void>;
  #wake: (() => void) | undefined;

  constructor(source: NoticeSource) {
    this.#running = source.run((notice) => {
      this.notices.push(notice);
      this.#wake?.();
    }, this.#controller.signal);
  }

  /** Names announced so far. */
  get names(): string[] {
    return this.notices.flatMap((notice) => (notice === 'list' ? [] : notice));
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async stop(): Promise<void> {
    this.#controller.abort();
    await this.#running;
  }
}

const signal = new AbortController().signal;

test('polling asks for a listing at once and after every interval', async () => {
  const clock = new ManualSleep();
  const listener = new Listener(new PollNotices({ intervalMs: 1000, sleep: clock.sleep }));
  expect(listener.notices).toEqual(['list']);
  await clock.pass();
  await clock.pass();
  expect(listener.notices).toEqual(['list', 'list', 'list']);
  await listener.stop();
});

test('a source whose signal is aborted already ends after its first word', async () => {
  const source = new PollNotices({ intervalMs: 1000, sleep: new ManualSleep().sleep });
  await expect(source.run(() => undefined, AbortSignal.abort())).resolves.toBeUndefined();
});

describe('watching the folder of a store', () => {
  let folder: string;
  let rootPath: string;
  let store: FilesystemObjectStore;
  let clock: ManualSleep;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'notices-'));
    rootPath = join(folder, 'root');
    store = await openFilesystemStore({ rootPath });
    clock = new ManualSleep();
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const watching = (more: Partial<ConstructorParameters<typeof WatchNotices>[0]> = {}) =>
    new Listener(
      new WatchNotices({
        rootPath,
        safetyIntervalMs: 3000,
        checkIntervalMs: 1000,
        sleep: clock.sleep,
        ...more,
      }),
    );

  test('new objects are announced by name, nothing else is', async () => {
    const listener = watching();
    await store.create('a', bodyOf('1'), signal);
    await store.put('b', bodyOf('2'), signal);
    await store.delete('a', signal);
    await writeFile(join(rootPath, '.hidden'), '');
    await writeFile(join(rootPath, 'x.tmp'), '');
    await store.create('last', bodyOf('3'), signal);
    await listener.until(() => listener.names.includes('last'));
    expect(listener.notices[0]).toBe('list');
    expect(new Set(listener.names)).toEqual(new Set(['a', 'b', 'last']));
    await listener.stop();
  });

  test('the safety interval asks for a listing although nothing happens', async () => {
    const listener = watching();
    for (let i = 0; i < 6; i++) {
      await clock.pass();
    }
    expect(listener.notices).toEqual(['list', 'list', 'list']);
    await listener.stop();
  });

  test('a folder that was replaced is watched again, after a listing', async () => {
    const listener = watching();
    await rename(rootPath, join(folder, 'moved'));
    await clock.pass();
    await mkdir(rootPath);
    const before = listener.notices.length;
    await clock.pass();
    expect(listener.notices.slice(before)).toEqual(['list']);
    await store.create('in-new', bodyOf('1'), signal);
    await listener.until(() => listener.names.includes('in-new'));
    await listener.stop();
  });

  test('a folder that is not there yet is watched when it comes', async () => {
    await rm(rootPath, { recursive: true });
    const listener = watching();
    await clock.pass();
    await mkdir(rootPath);
    const before = listener.notices.length;
    await clock.pass();
    expect(listener.notices.slice(before)).toEqual(['list']);
    await listener.stop();
  });

  test('too many events at once, or one without a name, ask for a listing', async () => {
    let handlers: WatchHandlers | undefined;
    const listener = watching({
      watchFolder: (_path, given) => {
        handlers = given;
        return { close: () => undefined };
      },
    });
    for (let i = 0; i < 5000; i++) {
      handlers?.onEvent('rename', `name-${i}`);
    }
    await listener.until(() => listener.notices.length === 2);
    handlers?.onEvent('rename', null);
    await listener.until(() => listener.notices.length === 3);
    for (let i = 0; i < 16_384; i++) {
      handlers?.onEvent('change', '.lightningstream-1.tmp');
    }
    await listener.until(() => listener.notices.length === 4);
    expect(listener.notices).toEqual(['list', 'list', 'list', 'list']);
    await listener.stop();
  });

  test('a watch that cannot be had, or fails, is tried again, and listings go on', async () => {
    let tries = 0;
    const failures: unknown[] = [];
    let worked = 0;
    let handlers: WatchHandlers | undefined;
    const listener = watching({
      onWatchFailed: (error) => failures.push(error),
      onWatching: () => (worked += 1),
      watchFolder: (_path, given) => {
        tries += 1;
        if (tries < 3) {
          throw new Error('no more inotify watches');
        }
        handlers = given;
        return { close: () => undefined };
      },
    });
    expect(listener.notices).toEqual(['list']);
    await clock.pass();
    expect(listener.notices).toEqual(['list', 'list']);
    await clock.pass();
    expect(listener.notices).toEqual(['list', 'list', 'list']);
    expect(failures).toHaveLength(1);
    await clock.pass();
    expect(listener.notices).toHaveLength(3);
    handlers?.onError(new Error('watch lost'));
    await clock.pass();
    expect(listener.notices).toHaveLength(4);
    expect(failures).toHaveLength(2);
    expect(tries).toBe(4);
    expect(worked).toBe(2);
    await listener.stop();
  });
});
