import { createHash } from 'node:crypto';
import { readlink, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleepFor } from 'node:timers/promises';

import { SyncError } from '../../protocol/errors.ts';
import { systemCode } from './errors.ts';
import { LOCK_HOLD_MAX_MS, LOCK_POLL_MS, LOCK_WAIT_MAX_MS, STALE_LOCK_MS } from '../limits.ts';

export type FolderLockOptions = {
  readonly rootPath: string;
  /** A fresh random text, as part of file names. */
  readonly newToken: () => string;
  readonly monotonicMs: () => number;
  /** Milliseconds after which an unchanged lock is taken over; {@link STALE_LOCK_MS} unless given. */
  readonly staleLockMs?: number | undefined;
};

/** A held lock. */
export type Held = {
  /** Throws STORAGE_FAILED (retryable) if this process was stopped for so long that others may take the lock over. */
  readonly assertFresh: () => void;
};

/**
 * Locks by object name, between all processes that share the folder, containers included.
 *
 * A lock is a symbolic link that holds a token used once. Everything slow (writing and syncing the new
 * object) is done before, so a holder needs about a millisecond. A dead holder leaves its link: a waiter that sees
 * the same token for `staleLockMs` of its own time (no clocks are compared) takes it over. Only one can: it must make
 * the link named after that token first, and a token never comes back. A holder that was suspended meanwhile finds
 * out by {@link Held.assertFresh} right before it writes; what stays open is a suspension of more than eight seconds
 * between that check and the one system call after it.
 */
export class FolderLock {
  readonly #options: FolderLockOptions;

  constructor(options: FolderLockOptions) {
    this.#options = options;
  }

  async run<T>(name: string, signal: AbortSignal, work: (held: Held) => Promise<T>): Promise<T> {
    const { rootPath, newToken, monotonicMs } = this.#options;
    const id = createHash('sha256').update(name).digest('hex').slice(0, 24);
    const path = join(rootPath, `.lightningstream-lock-${id}.tmp`);
    const token = newToken();
    const heldSinceMs = await this.#acquire(path, token, signal);
    try {
      return await work({
        assertFresh() {
          if (monotonicMs() - heldSinceMs > LOCK_HOLD_MAX_MS) {
            throw new SyncError(
              'STORAGE_FAILED',
              `gave up the lock of ${name}: held for too long`,
              {
                hint: 'Check why this host stopped for seconds: suspended, or its disk hangs.',
                retryable: true,
              },
            );
          }
        },
      });
    } finally {
      // Taken over meanwhile: the file is somebody else's and stays.
      if ((await readToken(path)) === token) {
        await removeFile(path);
      }
    }
  }

  async #acquire(path: string, token: string, signal: AbortSignal): Promise<number> {
    const { monotonicMs, staleLockMs = STALE_LOCK_MS } = this.#options;
    const startMs = monotonicMs();
    let seen: string | undefined;
    let seenSinceMs = startMs;
    for (;;) {
      signal.throwIfAborted();
      const beforeMs = monotonicMs();
      if (await makeLink(path, token)) {
        return beforeMs;
      }
      const current = await readToken(path);
      if (current !== seen) {
        seen = current;
        seenSinceMs = monotonicMs();
      } else if (current !== undefined && monotonicMs() - seenSinceMs > staleLockMs) {
        await this.#breakLock(path, current);
      }
      if (monotonicMs() - startMs > LOCK_WAIT_MAX_MS) {
        throw new SyncError('STORAGE_FAILED', `no lock within ${LOCK_WAIT_MAX_MS} ms: ${path}`, {
          hint: 'Remove that file if no agent runs on this folder.',
          retryable: true,
        });
      }
      await sleepFor(LOCK_POLL_MS, undefined, { signal });
    }
  }

  async #breakLock(path: string, token: string): Promise<void> {
    const claim = join(this.#options.rootPath, `.lightningstream-broken-${token}.tmp`);
    if ((await makeLink(claim, token)) && (await readToken(path)) === token) {
      await removeFile(path);
    }
    // The claim stays until the clean-up of old temporary files: a slow waiter must find it.
  }
}

// A symbolic link, because making it and giving it its content is one atomic step; it points nowhere.
async function makeLink(path: string, token: string): Promise<boolean> {
  try {
    await symlink(token, path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') {
      return false;
    }
    throw error;
  }
}

async function readToken(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      return undefined;
    }
    throw error;
  }
}

/** Removes a file; one that is gone already is no error. */
export async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') {
      throw error;
    }
  }
}
