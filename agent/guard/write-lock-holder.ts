import { closeSync, openSync, readFileSync, readSync, realpathSync } from 'node:fs';

/** In the lock table: where the writers' mutex begins, and in it the id of the thread that has it (glibc, musl). */
const WRITER_MUTEX_AT = 64n;
const OWNER_AT = 8n;

/**
 * The program that holds the LMDB's write lock now, for people; undefined: nobody, or it cannot be told.
 *
 * It is read from the map that this process has of the lock table: opening and closing that file would give up all locks
 * that the process has on it. Linux on 64 bits only.
 */
export function findWriteLockHolder(lockPath: string): string | undefined {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
    return undefined;
  }
  try {
    const path = realpathSync(lockPath);
    const address = findMap(path);
    const threadId = address === undefined ? 0 : readOwner(address);
    return threadId === 0 ? undefined : nameOf(threadId, path);
  } catch {
    // Whatever cannot be read here: the wait itself is reported anyway.
    return undefined;
  }
}

/** Where this process has the beginning of the file in memory. */
function findMap(path: string): bigint | undefined {
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const [range, , offset] = line.split(' ');
    if (line.endsWith(` ${path}`) && /^0+$/.test(offset ?? '')) {
      return BigInt(`0x${range?.split('-')[0]}`);
    }
  }
  return undefined;
}

function readOwner(mapAt: bigint): number {
  const fd = openSync('/proc/self/mem', 'r');
  try {
    const bytes = Buffer.alloc(4);
    readSync(fd, bytes, { position: mapAt + WRITER_MUTEX_AT + OWNER_AT });
    return bytes.readUInt32LE(0);
  } finally {
    closeSync(fd);
  }
}

/** The process of a thread, where that process has the file in memory, too: ids of other name spaces mean nothing here. */
function nameOf(threadId: number, lockPath: string): string {
  try {
    const status = readFileSync(`/proc/${threadId}/status`, 'utf8');
    const pid = /^Tgid:\s*(\d+)/m.exec(status)?.[1] ?? String(threadId);
    const maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
    const program = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
    if (maps.includes(` ${lockPath}\n`)) {
      return Number(pid) === process.pid ? 'this agent' : `${program} (process ${pid})`;
    }
  } catch {
    // Another user's, or of another process id name space.
  }
  return 'another program';
}
