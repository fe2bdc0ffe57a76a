import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Below the range that Linux takes the ports of outgoing connections and queries from (32768 and up): a port of that
 * range that is free now can be in use when a server that is yet to start wants it.
 */
const PORTS = { first: 10_000, last: 32_767 };
const MAX_ATTEMPTS = 100;

const handedOut = new Set<number>();

/** A port of 127.0.0.1, free for TCP and for UDP, that this process has not been given before. */
export async function freePort({ first, last } = PORTS): Promise<number> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const port = randomInt(first, last + 1);
    if (handedOut.has(port)) {
      continue;
    }
    handedOut.add(port);
    if ((await isFreeForTcp(port)) && (await isFreeForUdp(port))) {
      return port;
    }
    handedOut.delete(port);
  }
  throw new Error(`no free port from ${first} to ${last} in ${MAX_ATTEMPTS} attempts`);
}

async function isFreeForTcp(port: number): Promise<boolean> {
  const server = createServer();
  server.listen(port, '127.0.0.1');
  if (!(await isBound(once(server, 'listening')))) {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}

async function isFreeForUdp(port: number): Promise<boolean> {
  const socket = createSocket('udp4');
  socket.bind(port, '127.0.0.1');
  const isFree = await isBound(once(socket, 'listening'));
  socket.close();
  return isFree;
}

/** `once` rejects with the error event. */
async function isBound(listening: Promise<unknown>): Promise<boolean> {
  try {
    await listening;
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE' || code === 'EACCES') {
      return false;
    }
    throw error;
  }
}
