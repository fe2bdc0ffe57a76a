import { randomBytes } from 'node:crypto';
import { closeSync, constants, linkSync, openSync, renameSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { errorText, SyncError } from '../../protocol/errors.ts';

/** Who works on an LMDB, as it says itself. */
type MarkerOwner = {
  readonly program: string;
  readonly instance: string;
  readonly pid: number;
  readonly hostname: string;
};

/** One at a time holds it; it ends with its process, however that ends. */
export type AgentMarker = { close(): void };

/** Added to the path of the data file. */
const SUFFIX = '-agent';
const ANSWER_TIMEOUT_MS = 2000;
const ANSWER_BYTES_MAX = 4096;
/** Left behind by a dead process, and taken away by another starter at the same moment: again. */
const ATTEMPTS = 5;

/**
 * Says that this process works on the LMDB, and finds out whether another one of ours does: a socket beside the data
 * file. It also works between containers that share a volume and neither a process id name space nor a network, and
 * nothing of a killed process counts: the kernel refuses connections to it at once.
 *
 * Where the folder cannot hold a socket `onUnavailable` hears why, and there is no marker.
 * Errors: ENVIRONMENT_UNREADABLE if another process holds it.
 */
export async function claimMarker(
  dataPath: string,
  owner: { readonly program: string; readonly instance: string },
  onUnavailable: (reason: string) => void,
): Promise<AgentMarker> {
  const self: MarkerOwner = { ...owner, pid: process.pid, hostname: hostname() };
  // Names of sockets end at 107 bytes; through the folder's descriptor only the last part counts.
  let folderFd: number;
  try {
    folderFd = openSync(dirname(dataPath), constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    onUnavailable(errorText(error));
    return { close: () => {} };
  }
  const folder = process.platform === 'linux' ? `/proc/self/fd/${folderFd}` : dirname(dataPath);
  const nameAt = (suffix: string) => join(folder, `${basename(dataPath)}${SUFFIX}${suffix}`);
  const unique = `.${process.pid}.${randomBytes(4).toString('hex')}`;
  let server: Server;
  try {
    server = await listen(nameAt(unique), self);
  } catch (error) {
    closeSync(folderFd);
    onUnavailable(errorText(error));
    return { close: () => {} };
  }
  const close = () => {
    server.close();
    closeSync(folderFd);
  };
  try {
    await moveInto({ from: nameAt(unique), to: nameAt(''), aside: nameAt(`${unique}.old`) });
  } catch (error) {
    rmSync(nameAt(unique), { force: true });
    close();
    if (!(error instanceof Held)) {
      onUnavailable(errorText(error));
      return { close: () => {} };
    }
    throw heldError(dataPath, error.owner);
  }
  return {
    close: () => {
      rmSync(nameAt(''), { force: true });
      close();
    },
  };
}

class Held extends Error {
  readonly owner: MarkerOwner | undefined;
  constructor(owner: MarkerOwner | undefined) {
    super('held by another process');
    this.owner = owner;
  }
}

function heldError(dataPath: string, owner: MarkerOwner | undefined): SyncError {
  const who =
    owner === undefined
      ? 'another process of this program'
      : `"${owner.program}" (instance ${owner.instance}, process id ${owner.pid} on ${owner.hostname})`;
  return new SyncError('ENVIRONMENT_UNREADABLE', `${who} works on ${dataPath} already`, {
    hint: 'Stop it first; one agent per LMDB, also across containers that share the volume.',
  });
}

/** Gives the socket its lasting name, which only one can do; what a dead process left there goes first. */
async function moveInto(names: { from: string; to: string; aside: string }): Promise<void> {
  const { from, to, aside } = names;
  for (let attempt = 1; ; attempt++) {
    try {
      linkSync(from, to);
      rmSync(from, { force: true });
      return;
    } catch (error) {
      if (!hasCode(error, 'EEXIST') || attempt >= ATTEMPTS) {
        throw error;
      }
    }
    const answer = await ask(to);
    if (answer !== 'nobody') {
      throw new Held(answer);
    }
    await putAside(to, aside);
  }
}

/** Between the question and the removal another starter may have put its own there: that one goes back. */
async function putAside(name: string, aside: string): Promise<void> {
  try {
    renameSync(name, aside);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) {
      return;
    }
    throw error;
  }
  const answer = await ask(aside);
  if (answer === 'nobody') {
    rmSync(aside, { force: true });
    return;
  }
  try {
    linkSync(aside, name);
  } finally {
    rmSync(aside, { force: true });
  }
  throw new Held(answer);
}

function listen(name: string, owner: MarkerOwner): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end(JSON.stringify(owner));
    });
    server.once('error', reject);
    server.listen(name, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** Who listens there; undefined: somebody who does not say. A busy process answers late, but accepts at once. */
function ask(name: string): Promise<MarkerOwner | undefined | 'nobody'> {
  return new Promise((resolve) => {
    const socket = connect(name);
    let text = '';
    const done = (answer: MarkerOwner | undefined | 'nobody') => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => done(undefined));
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      if (text.length > ANSWER_BYTES_MAX) {
        done(undefined);
      }
    });
    socket.on('end', () => done(parseOwner(text)));
    socket.on('error', (error) => {
      done(hasCode(error, 'ECONNREFUSED') || hasCode(error, 'ENOENT') ? 'nobody' : undefined);
    });
  });
}

function parseOwner(text: string): MarkerOwner | undefined {
  try {
    const owner = JSON.parse(text) as Partial<MarkerOwner>;
    const { program, instance, pid, hostname: host } = owner;
    if (typeof pid !== 'number') {
      return undefined;
    }
    return { program: clean(program), instance: clean(instance), pid, hostname: clean(host) };
  } catch {
    return undefined;
  }
}

/** What another process says about itself goes to a terminal. */
function clean(text: unknown): string {
  return typeof text === 'string' ? text.replaceAll(/\p{Cc}/gu, '.') : '?';
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code;
}
