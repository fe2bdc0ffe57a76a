import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** A port of 127.0.0.1 that leads to another one, until it is cut. */
export class TcpProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;
  readonly #line: { isCut: boolean };

  private constructor(server: Server, sockets: Set<Socket>, line: { isCut: boolean }) {
    this.#server = server;
    this.#sockets = sockets;
    this.#line = line;
    this.port = (server.address() as AddressInfo).port;
  }

  static async open(targetPort: number): Promise<TcpProxy> {
    const sockets = new Set<Socket>();
    const line = { isCut: false };
    const track = (socket: Socket): Socket => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      return socket;
    };
    const server = createServer((client) => {
      track(client);
      if (line.isCut) {
        client.destroy();
        return;
      }
      const target = track(connect(targetPort, '127.0.0.1'));
      for (const [from, to] of [
        [client, target],
        [target, client],
      ] as const) {
        from.pipe(to);
        from.once('error', () => to.destroy());
        from.once('close', () => to.destroy());
      }
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TcpProxy(server, sockets, line);
  }

  /** Ends all connections and every new one. */
  cut(): void {
    this.#line.isCut = true;
    for (const socket of this.#sockets) {
      socket.destroy();
    }
  }

  heal(): void {
    this.#line.isCut = false;
  }

  async close(): Promise<void> {
    this.cut();
    const closed = once(this.#server, 'close');
    this.#server.close();
    await closed;
  }
}
