import type { IncomingMessage, RequestListener } from 'node:http';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';

/** An HTTP server that answers as a test says, in place of a storage. */
export type AnsweringServer = {
  /** http://127.0.0.1:PORT */
  readonly url: string;
  readonly port: number;
  /** All requests, in order. */
  readonly seen: readonly IncomingMessage[];
  stop(): Promise<void>;
};

/** Starts one, with a certificate for https; `listener` is called when a request has been received whole. */
export async function startAnsweringServer(
  listener: RequestListener,
  tls?: { readonly cert: string; readonly key: string },
): Promise<AnsweringServer> {
  const seen: IncomingMessage[] = [];
  const answer: RequestListener = (request, response) => {
    seen.push(request);
    request.resume();
    request.once('end', () => listener(request, response));
  };
  const server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    seen,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
