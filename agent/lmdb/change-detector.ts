import fs from 'node:fs';

import { SyncError, errorText } from '../../protocol/errors.ts';
import { DataFile } from './pages/data-file.ts';
import { sharedInterval } from './shared-interval.ts';

/** The part of `fs.watch` that is needed; `onEvent` for anything that happens to the file. */
export type WatchFile = (
  path: string,
  onEvent: () => void,
  onError: () => void,
) => { close(): void };

/** What the detector uses of the event loop; Node's own unless a test owns them. */
export type DetectorTimers = {
  /** Calls again and again until the function that it returned is called. */
  readonly every: (ms: number, callback: () => void) => () => void;
  /** Calls once, after the events that are already waiting. */
  readonly soon: (callback: () => void) => void;
};

export type ChangeDetectorOptions = {
  /** The data file itself. It may not exist yet. */
  readonly path: string;
  readonly pollIntervalMs: number;
  /**
   * Called with the newest committed transaction's id when it is above the last one seen, first of all with the one
   * found at the start; when the file is replaced by another one, its id counts as new whatever it is.
   */
  readonly onChange: (txnId: number) => void;
  /** Called when the file turns unreadable, with the reason, when that changes, and with undefined when it is well again. */
  /**
   * Called when the file is, or may be, another one than before: another inode at the path, an id below the last one, or
   * readable again after it was not.
   */
  readonly onReplaced?: (() => void) | undefined;
  readonly onProblem?: ((problem: SyncError | undefined) => void) | undefined;
  readonly watchFile?: WatchFile | undefined;
  readonly timers?: DetectorTimers | undefined;
};

const NOTHING_SEEN = -1;
const nodeTimers: DetectorTimers = {
  every: sharedInterval,
  soon: (callback) => {
    setImmediate(callback);
  },
};

function watchByInotify(path: string, onEvent: () => void, onError: () => void): { close(): void } {
  const watcher = fs.watch(path, { persistent: false }, onEvent);
  watcher.on('error', onError);
  return watcher;
}

/**
 * Tells when an LMDB has a new committed transaction: by watching its data file, and every `pollIntervalMs` by
 * reading its two meta pages, for writers that use MDB_WRITEMAP (writes through a map give no events), file systems
 * without events, and a file that is created late or replaced. A poll that finds nothing is one read of a few
 * microseconds; many events at once are one check. Runs on the main thread, without the LMDB binding and its locks.
 */
export class ChangeDetector implements Disposable {
  readonly #options: ChangeDetectorOptions;
  readonly #timers: DetectorTimers;
  #file: DataFile | undefined;
  #fileId = '';
  #watch: { close(): void } | undefined;
  #stopPolling: (() => void) | undefined;
  #seenTxnId = NOTHING_SEEN;
  /** The newest one in this file at the last look. */
  #lookedTxnId = NOTHING_SEEN;
  #mayBeAnother = false;
  #isCheckComing = false;
  #problem: string | undefined;
  /** What the meta pages said at the last look at this file. */
  #peekedTxnId = NOTHING_SEEN;

  constructor(options: ChangeDetectorOptions) {
    this.#options = options;
    this.#timers = options.timers ?? nodeTimers;
  }

  /** Checks once and goes on until {@link close}. */
  start(): void {
    this.#stopPolling ??= this.#timers.every(this.#options.pollIntervalMs, () => this.#poll());
    this.check();
  }

  /** True while events of the file arrive; without them there is only the poll. */
  get isWatching(): boolean {
    return this.#watch !== undefined;
  }

  /** Transactions up to this one are known to the caller and no reason to call back. */
  markSeen(txnId: number): void {
    this.#seenTxnId = Math.max(this.#seenTxnId, txnId);
  }

  /** Looks now, whatever the timers say. */
  check(): void {
    this.#look({ asksPath: true });
  }

  #look({ asksPath }: { readonly asksPath: boolean }): void {
    let txnId: number;
    try {
      const file = (asksPath ? undefined : this.#file) ?? this.#currentFile();
      if (file === undefined) {
        return;
      }
      const peekedTxnId = file.peekTxnId();
      // The usual end: nothing was committed. With 64 files idle, more than this read is too dear (0.8 %).
      if (peekedTxnId === this.#peekedTxnId) {
        return;
      }
      txnId = file.readMeta().txnId;
      // Where they differ a meta page is being written, or damaged: the next look is a whole one again.
      this.#peekedTxnId = txnId === peekedTxnId ? peekedTxnId : NOTHING_SEEN;
    } catch (error) {
      this.#letGo();
      this.#report(error);
      return;
    }
    this.#report(undefined);
    if (this.#mayBeAnother || txnId < this.#lookedTxnId) {
      this.#mayBeAnother = false;
      this.#seenTxnId = NOTHING_SEEN;
      this.#options.onReplaced?.();
    }
    this.#lookedTxnId = txnId;
    if (txnId > this.#seenTxnId) {
      this.#seenTxnId = txnId;
      this.#options.onChange(txnId);
    }
  }

  #poll(): void {
    this.#look({ asksPath: true });
  }

  close(): void {
    this.#stopPolling?.();
    this.#stopPolling = undefined;
    this.#letGo();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The file that is at the path now, watched before it is read, so that nothing falls in between. */
  #currentFile(): DataFile | undefined {
    const { path, watchFile = watchByInotify } = this.#options;
    const fileId = idOf(fs.statSync(path, { throwIfNoEntry: false }));
    if (this.#file !== undefined && fileId === this.#fileId) {
      this.#watch ??= this.#tryWatch(watchFile);
      return this.#file;
    }
    this.#letGo();
    this.#mayBeAnother = this.#fileId !== '';
    if (fileId === undefined) {
      // Whoever has it open is to let go of it at once.
      if (this.#mayBeAnother) {
        this.#options.onReplaced?.();
      }
      this.#report(
        new SyncError('ENVIRONMENT_UNREADABLE', `${path} does not exist`, { retryable: true }),
      );
      return undefined;
    }
    const file = DataFile.open(path);
    this.#file = file;
    this.#watch = this.#tryWatch(watchFile);
    const openId = idOf(fs.fstatSync(file.fd));
    if (openId !== idOf(fs.statSync(path, { throwIfNoEntry: false }))) {
      // Replaced between two of these lines: the watch may be on another file. The next check tries again.
      this.#letGo();
      return undefined;
    }
    this.#fileId = openId ?? '';
    this.#seenTxnId = NOTHING_SEEN;
    return file;
  }

  /** Undefined where watching is impossible (no inotify watches left, no such file system): polling goes on. */
  #tryWatch(watchFile: WatchFile): { close(): void } | undefined {
    try {
      const watch = watchFile(
        this.#options.path,
        () => this.#checkSoon(),
        () => {
          watch.close();
          this.#watch = undefined;
        },
      );
      return watch;
    } catch {
      return undefined;
    }
  }

  #checkSoon(): void {
    if (this.#isCheckComing) {
      return;
    }
    this.#isCheckComing = true;
    this.#timers.soon(() => {
      this.#isCheckComing = false;
      // Most events of a commit are its data pages, before there is anything to see. Polls ask for the path.
      if (this.#stopPolling !== undefined) {
        this.#look({ asksPath: false });
      }
    });
  }

  #letGo(): void {
    this.#watch?.close();
    this.#watch = undefined;
    this.#file?.close();
    this.#file = undefined;
    this.#peekedTxnId = NOTHING_SEEN;
  }

  #report(error: unknown): void {
    const text = error === undefined ? undefined : errorText(error);
    if (text === this.#problem) {
      return;
    }
    this.#problem = text;
    this.#options.onProblem?.(
      error === undefined || error instanceof SyncError
        ? error
        : new SyncError('ENVIRONMENT_UNREADABLE', `cannot read ${this.#options.path}: ${text}`, {
            retryable: true,
            cause: error,
          }),
    );
  }
}

function idOf(stat: fs.Stats | undefined): string | undefined {
  return stat && `${stat.dev}:${stat.ino}`;
}
