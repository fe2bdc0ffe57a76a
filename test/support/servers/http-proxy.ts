import { createServer, type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';

/** A small HTTP proxy that takes every name for this host: tests give servers names as the world outside has. */
export type TestProxy = {
  readonly port: number;
  /** What it was asked for: `CONNECT HOST:PORT` and `GET http://…`. */
  readonly asked: readonly string[];
  stop(): Promise<void>;
};

/** Starts one on 127.0.0.1; with `credentials` ("user:password") it refuses whoever does not give them. */
export async function startTestProxy({
  credentials,
}: { readonly credentials?: string } = {}): Promise<TestProxy> {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  const isAllowed = ({ headers }: IncomingMessage) =>
    credentials === undefined ||
    headers['proxy-authorization'] === `Basic ${Buffer.from(credentials).toString('base64')}`;
  const server = createServer((incoming, outgoing) => {
    asked.push(`${incoming.method} ${incoming.url}`);
    const target = URL.canParse(incoming.url ?? '') ? new URL(incoming.url ?? '') : undefined;
    if (target === undefined || !isAllowed(incoming)) {
      outgoing.writeHead(target === undefined ? 400 : 407).end();
      return;
    }
    const {
      'proxy-authorization': _credentials,
      'proxy-connection': _hop,
      ...headers
    } = incoming.headers;
    const forwarded = request(
      {
        host: '127.0.0.1',
        port: target.port || 80,
        method: incoming.method,
        path: target.pathname + target.search,
        headers,
      },
      (response) => {
        outgoing.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(outgoing);
      },
    );
    forwarded.once('error', () => outgoing.destroy());
    incoming.pipe(forwarded);
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('connect', (incoming: IncomingMessage, client: Socket, head: Buffer) => {
    asked.push(`CONNECT ${incoming.url}`);
    client.on('error', () => undefined);
    if (!isAllowed(incoming)) {
      client.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
      return;
    }
    const target = connect(Number(incoming.url?.split(':').at(-1)), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      target.write(head);
      target.pipe(client).pipe(target);
    });
    target.on('error', () => client.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'));
    sockets.add(target);
    target.once('close', () => {
      sockets.delete(target);
      client.destroy();
    });
    client.once('close', () => target.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    asked,
    async stop() {
      for (const socket of sockets) {
        socket.destroy();
      }
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
