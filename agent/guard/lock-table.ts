import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, SyncError } from '../../protocol/errors.ts';
import type { EnvironmentOptions } from '../lmdb/environment.ts';

/** What the lock tables of some LMDBs say about who else reads them. */
export type LockTableReport = {
  /** Slots of processes that no longer live, which had kept pages in use; they are free now. */
  readonly cleared: number;
  /** Process ids of living readers that are not to be found in this process id name space. */
  readonly foreignPids: readonly number[];
};

/** LMDB's `MDB_MAGIC` and, for version 1 with locks per process, `MDB_LOCK_FORMAT`. */
const MAGIC = 0xbeef_c0de;
const FORMAT = 0x1_0001;
const CACHE_LINE_BYTES = 64;
/** Of a `pthread_mutex_t`; glibc and musl agree. On others the table is not read. */
const MUTEX_BYTES: Readonly<Record<string, number>> = { x64: 40, arm64: 48 };
/** Upstream's and our LMDB have 126 slots; the limit is for damaged tables. */
const SLOTS_MAX = 4096;
const CHECK_TIMEOUT_MS = 60_000;
/** The checking process must not have the id of a reader itself; the next one has another. */
const CHECK_ATTEMPTS = 3;
/** Exit code of the checking process: its own id is in the table. */
export const EXIT_SAME_PID = 3;

/** Where LMDB's lock table of a data file is. */
export function lockPathOf({ path, noSubdir }: EnvironmentOptions): string {
  return noSubdir ? `${path}-lock` : join(path, 'lock.mdb');
}

/**
 * The process ids in the reader table, once per slot. Only for LMDBs that this process has not opened: closing any
 * descriptor of the file drops all locks that the process has on it. Empty where the table cannot be read.
 *
 * Shape: 4 bytes magic, 4 format, a mutex, 8 transaction, 4 slots used; from the next cache line a mutex; from the next
 * one the slots, a cache line each: 8 transaction, 4 process id. Source: LMDB 0.9.33, `mdb.c`, `MDB_txninfo`.
 */
export function readReaderPids(lockPath: string): readonly number[] {
  const mutexBytes = MUTEX_BYTES[process.arch];
  if (mutexBytes === undefined || process.platform !== 'linux') {
    return [];
  }
  let fd: number;
  try {
    fd = openSync(lockPath, 'r');
  } catch {
    return [];
  }
  try {
    const round = (bytes: number) => Math.ceil(bytes / CACHE_LINE_BYTES) * CACHE_LINE_BYTES;
    const slotsAt = round(8 + mutexBytes + 8 + 4) + round(mutexBytes);
    const table = Buffer.alloc(slotsAt + SLOTS_MAX * CACHE_LINE_BYTES);
    const length = readSync(fd, table, 0, table.length, 0);
    if (length < slotsAt || table.readUInt32LE(0) !== MAGIC || table.readUInt32LE(4) !== FORMAT) {
      return [];
    }
    const used = table.readUInt32LE(8 + mutexBytes + 8);
    const pids: number[] = [];
    for (let i = 0; i < Math.min(used, SLOTS_MAX); i++) {
      const at = slotsAt + i * CACHE_LINE_BYTES;
      if (at + CACHE_LINE_BYTES > length) {
        break;
      }
      const pid = table.readInt32LE(at + 8);
      if (pid !== 0) {
        pids.push(pid);
      }
    }
    return pids;
  } finally {
    closeSync(fd);
  }
}

/**
 * Looks at the reader tables before the LMDBs are opened. Where a slot may be that of a dead process another process
 * lets LMDB itself decide and clear it: LMDB never looks at slots with the id of its own process, and after a kill in a
 * container the successor often has the same one.
 *
 * Errors: ENVIRONMENT_UNREADABLE if a living process of another name space has our id. LMDB could not tell us apart.
 */
export async function checkLockTable(
  options: EnvironmentOptions,
  checkerPath: string,
): Promise<LockTableReport> {
  const lockPath = lockPathOf(options);
  const before = readReaderPids(lockPath);
  if (before.every((pid) => holdsLock(lockPath, pid))) {
    return { cleared: 0, foreignPids: [] };
  }
  await clearDeadReaders(options, checkerPath);
  const after = readReaderPids(lockPath);
  if (after.includes(process.pid)) {
    throw samePid(options);
  }
  const foreign = after.filter((pid) => !holdsLock(lockPath, pid));
  const cleared = before.filter((pid) => !after.includes(pid)).length;
  return { cleared, foreignPids: [...new Set(foreign)].toSorted((a, b) => a - b) };
}

function samePid({ path }: EnvironmentOptions): SyncError {
  return new SyncError(
    'ENVIRONMENT_UNREADABLE',
    `process id ${process.pid} of this agent is also that of another process on ${path}, in another container: LMDB cannot tell them apart`,
    {
      hint: 'Let both containers share the process id name space (docker: --pid container:NAME, Kubernetes: shareProcessNamespace: true), or start the agent with --minimum-pid 50.',
    },
  );
}

/** A living reader holds a lock on the byte of its process id; the kernel shows those of our name space. */
function holdsLock(lockPath: string, pid: number): boolean {
  if (pid === process.pid) {
    return false;
  }
  let locks: string;
  try {
    locks = readFileSync('/proc/locks', 'utf8');
  } catch {
    return existsSync(`/proc/${pid}`);
  }
  const { ino } = statSync(lockPath);
  // The device is not compared: file systems such as overlays show another one here.
  return locks
    .split('\n')
    .some((line) => new RegExp(`POSIX .* WRITE ${pid} \\S+:${ino} ${pid} ${pid}$`).test(line));
}

async function clearDeadReaders(options: EnvironmentOptions, checkerPath: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const { code, text } = await runChecker(options, checkerPath);
    if (code === 0) {
      return;
    }
    if (code !== EXIT_SAME_PID || attempt >= CHECK_ATTEMPTS) {
      throw new SyncError(
        'ENVIRONMENT_UNREADABLE',
        `cannot check the readers of ${options.path}: ${text || `exit code ${code}`}`,
        { hint: 'Check that this user may read and write the LMDB and its "-lock" file.' },
      );
    }
  }
}

function runChecker(
  options: EnvironmentOptions,
  checkerPath: string,
): Promise<{ code: number | null; text: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [checkerPath, JSON.stringify(options)], {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: CHECK_TIMEOUT_MS,
    });
    let text = '';
    child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
    child.on('error', (error) => resolve({ code: -1, text: errorText(error) }));
    child.on('close', (code) => resolve({ code, text: text.trim() }));
  });
}
