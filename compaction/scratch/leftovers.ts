import { lstat, readdir, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';

/** What the names of the compactor's folders begin with. */
export const FOLDER_PREFIX = 'lightningstream-compaction-';

/** Name of the socket that a living run keeps in its folder: the host's name says where it can be asked. */
const SOCKET_PREFIX = 'run-';

/** A folder that nobody can be asked about is a dead run's when nothing was written to it for so long. */
const LEFT_AFTER_MS = 24 * 60 * 60 * 1000;

/** A name in this alphabet alone, so that it fits into a file name and a socket's path. */
function hostPart(): string {
  return hostname()
    .replaceAll(/[^a-zA-Z0-9-]/g, '-')
    .slice(0, 20);
}

/**
 * Says that a living process uses this folder: a socket, which ends with the process however that ends. It also works
 * between containers that share a volume and no process ids. Where the folder cannot hold one, age decides.
 */
export async function markAlive(folder: string): Promise<{ close(): Promise<void> }> {
  const server = createServer((socket) => socket.destroy());
  const path = join(folder, `${SOCKET_PREFIX}${hostPart()}`);
  const listens = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(path, () => resolve(true));
  });
  // It alone must not keep a process alive.
  server.unref();
  return { close: () => (listens ? closed(server) : Promise.resolve()) };
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

/** Removes the folders that dead runs have left in `parent`; folders of other users and of living runs stay. */
export async function removeLeftovers(parent: string, nowMs: number): Promise<void> {
  const names: string[] = await readdir(parent).catch(() => []);
  for (const name of names) {
    const path = join(parent, name);
    if (name.startsWith(FOLDER_PREFIX) && (await isLeft(path, nowMs))) {
      // Somebody else may be at it, too, and what cannot be removed must not keep the run from trying.
      await rm(path, { recursive: true, force: true }).catch(() => undefined);
    }
  }
}

async function isLeft(path: string, nowMs: number): Promise<boolean> {
  const folder = await lstat(path).catch(() => undefined);
  if (folder?.isDirectory() !== true || folder.uid !== (process.getuid?.() ?? folder.uid)) {
    return false;
  }
  const names: string[] = await readdir(path).catch(() => []);
  if (names.includes(`${SOCKET_PREFIX}${hostPart()}`)) {
    return !(await answers(join(path, `${SOCKET_PREFIX}${hostPart()}`)));
  }
  // Of another host on a shared folder, without a socket, or begun this moment.
  const times = await Promise.all(
    [path, ...names.map((name) => join(path, name))].map(async (each) =>
      lstat(each).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      ),
    ),
  );
  return Math.max(...times) < nowMs - LEFT_AFTER_MS;
}

/** False if nobody listens; true also where that stays unknown. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED');
    });
  });
}
