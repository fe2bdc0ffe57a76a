import type { FSWatcher } from 'node:fs';
import { existsSync, statSync, watch } from 'node:fs';
import { join } from 'node:path';

import { isStorableName } from '../../storage/folder/store.ts';
import { slept, type Sleep } from '../pacing/sleep.ts';
import type { NoticeSource, OnNotice } from './source.ts';

export type WatchOptions = {
  /** The folder of a file system store. */
  readonly rootPath: string;
  /**
   * A listing pass is asked for this often as well. It is also what finds objects that other hosts wrote into a
   * network file system, for which inotify reports nothing.
   */
  readonly safetyIntervalMs: number;
  /** How often the folder is checked to be the one that is watched, and watching is tried again where it failed. */
  readonly checkIntervalMs: number;
  readonly sleep: Sleep;
  /** Told once when watching stops working, for the log: until it works again there is a listing per check. */
  readonly onWatchFailed?: ((error: unknown) => void) | undefined;
  /** Watching works, perhaps again. */
  readonly onWatching?: (() => void) | undefined;
  /** `fs.watch`; tests give another. */
  readonly watchFolder?: WatchFolder | undefined;
};

export type WatchHandlers = {
  /** As `fs.watch` tells: "rename" when a name came or went, "change" for bytes and times; null: name unknown. */
  readonly onEvent: (event: string, name: string | null) => void;
  readonly onError: (error: unknown) => void;
};

/** Starts watching one folder; throws where it cannot. */
type WatchFolder = (path: string, handlers: WatchHandlers) => { close(): void };

/** Names handed on in one call at most; beyond, a listing pass is cheaper than as many notices. */
const NAMES_MAX = 1000;

/**
 * Events in one turn of the event loop from which on some may be missing: the kernel keeps 16,384 for us, and Node does
 * not tell when it dropped more.
 */
const EVENTS_MAX = 8192;

/**
 * Watches the folder of a file system store by inotify: a new object is announced within a millisecond, by name,
 * without a listing. Names of the same turn of the event loop arrive together.
 *
 * The kernel drops events when nobody reads them for long, and tells nothing of a folder that was moved away, replaced
 * or not yet mounted: then, and at every safety interval, "list". Where watching is impossible it polls, every check.
 */
export class WatchNotices implements NoticeSource {
  readonly kind = 'watch';
  readonly #options: WatchOptions;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  async run(onNotice: OnNotice, signal: AbortSignal): Promise<void> {
    const { rootPath, safetyIntervalMs, checkIntervalMs, sleep } = this.#options;
    const watched = new WatchedFolder(rootPath, {
      watchFolder: this.#options.watchFolder ?? watchByInotify,
      onWatchFailed: this.#options.onWatchFailed ?? (() => undefined),
      onWatching: this.#options.onWatching ?? (() => undefined),
      onNotice,
    });
    try {
      watched.ensure();
      onNotice('list');
      let sinceListMs = 0;
      while (await slept(sleep, checkIntervalMs, signal)) {
        sinceListMs += checkIntervalMs;
        // Only after watching again, so that nothing falls between the listing and the watch.
        if (watched.ensure() || !watched.active || sinceListMs >= safetyIntervalMs) {
          sinceListMs = 0;
          onNotice('list');
        }
      }
    } finally {
      watched.close();
    }
  }
}

/** One watch at a time, renewed when the folder behind the path is another one. */
class WatchedFolder {
  readonly #path: string;
  readonly #watchFolder: WatchFolder;
  readonly #onNotice: OnNotice;
  readonly #onWatchFailed: (error: unknown) => void;
  readonly #onWatching: () => void;
  #failing = false;
  readonly #names = new Set<string>();
  #overflowed = false;
  #events = 0;
  #scheduled = false;
  #closed = false;
  #watch: { folderId: string; close(): void } | undefined;

  constructor(
    path: string,
    options: {
      watchFolder: WatchFolder;
      onWatchFailed: (error: unknown) => void;
      onWatching: () => void;
      onNotice: OnNotice;
    },
  ) {
    this.#path = path;
    this.#watchFolder = options.watchFolder;
    this.#onNotice = options.onNotice;
    this.#onWatchFailed = options.onWatchFailed;
    this.#onWatching = options.onWatching;
  }

  get active(): boolean {
    return this.#watch !== undefined;
  }

  /** Watches the folder that is there now; true if that is a new watch, which saw nothing of what was before. */
  ensure(): boolean {
    const folderId = findFolderId(this.#path);
    if (folderId !== undefined && folderId === this.#watch?.folderId) {
      return false;
    }
    this.#endWatch();
    if (folderId === undefined) {
      // The store's own requests report a folder that is gone, with what to do.
      return false;
    }
    try {
      const watcher = this.#watchFolder(this.#path, {
        onEvent: (event, name) => this.#add(event, name),
        onError: (error) => {
          this.#endWatch();
          this.#fail(error);
        },
      });
      // If it was replaced in between, the next check finds that this is not the folder.
      this.#watch = { folderId, close: () => watcher.close() };
      this.#failing = false;
      this.#onWatching();
      return true;
    } catch (error) {
      // No permission, or the limit of inotify watches.
      this.#fail(error);
      return false;
    }
  }

  #fail(error: unknown): void {
    if (!this.#failing) {
      this.#failing = true;
      this.#onWatchFailed(error);
    }
  }

  close(): void {
    this.#closed = true;
    this.#endWatch();
  }

  #endWatch(): void {
    this.#watch?.close();
    this.#watch = undefined;
  }

  #add(event: string, name: string | null): void {
    this.#events += 1;
    if (name === null || this.#names.size >= NAMES_MAX || this.#events >= EVENTS_MAX) {
      this.#overflowed = true;
    } else if (event === 'rename' && isStorableName(name)) {
      // Not "change": the store never changes bytes under a name.
      this.#names.add(name);
    }
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.#flush());
    }
  }

  #flush(): void {
    const overflowed = this.#overflowed;
    // Names that went are no news.
    const names = [...this.#names].filter((name) => existsSync(join(this.#path, name)));
    this.#names.clear();
    this.#scheduled = false;
    this.#overflowed = false;
    this.#events = 0;
    if (!this.#closed && (overflowed || names.length > 0)) {
      this.#onNotice(overflowed ? 'list' : names);
    }
  }
}

function findFolderId(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

const watchByInotify: WatchFolder = (path, { onEvent, onError }) => {
  const watcher: FSWatcher = watch(path, { persistent: false }, onEvent);
  watcher.on('error', onError);
  return watcher;
};
