import type { Duplex } from 'node:stream';
import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { timerMs } from '../../protocol/time.ts';

/** Time limits of a connection, milliseconds; what is undefined is bounded elsewhere. */
export type SocketLimits = {
  /** From the start until the TCP connection is there. */
  readonly dialTimeoutMs?: number | undefined;
  /** From the start until TLS is agreed upon. */
  readonly handshakeTimeoutMs?: number | undefined;
  /** Without a byte in either direction while a request is under way. */
  readonly stallTimeoutMs?: number | undefined;
};

/** Ends a new connection with ETIMEDOUT where one of its limits passes. */
export function limitSocket(socket: Duplex | null | undefined, limits: SocketLimits): void {
  if (!(socket instanceof Socket)) {
    return;
  }
  const { dialTimeoutMs, handshakeTimeoutMs } = limits;
  if (dialTimeoutMs !== undefined) {
    limitUntil(socket, 'connect', { ms: dialTimeoutMs, what: 'connection' });
  }
  if (handshakeTimeoutMs !== undefined && socket instanceof TLSSocket) {
    limitUntil(socket, 'secureConnect', { ms: handshakeTimeoutMs, what: 'TLS handshake' });
  }
  watchStall(socket, limits);
}

/** To be called when a connection that was idle gets another request. */
export function watchStall(socket: Duplex, { stallTimeoutMs }: SocketLimits): void {
  if (stallTimeoutMs === undefined || !(socket instanceof Socket)) {
    return;
  }
  socket.setTimeout(timerMs(stallTimeoutMs));
  // Once per connection: reused ones still have it.
  socket.removeListener('timeout', endStalled);
  socket.on('timeout', endStalled);
}

/** To be called when a connection becomes idle: from then on the agent's own limit holds. */
export function unwatchStall(socket: Duplex): void {
  socket.removeListener('timeout', endStalled);
}

function endStalled(this: Socket): void {
  // A reader that takes its time holds the connection back itself: no stall of the server.
  if (!this.isPaused()) {
    this.destroy(timeoutError('no byte for too long'));
  }
}

function limitUntil(socket: Socket, event: string, limit: { ms: number; what: string }): void {
  const timer = setTimeout(() => {
    socket.destroy(timeoutError(`no ${limit.what} within ${limit.ms} ms`));
  }, timerMs(limit.ms));
  for (const end of [event, 'close']) {
    socket.once(end, () => clearTimeout(timer));
  }
}

/** What a limit that has passed ends a connection with. */
export function timeoutError(text: string): Error {
  return Object.assign(new Error(`ETIMEDOUT: ${text}`), { code: 'ETIMEDOUT' });
}
