import type { IncomingMessage, RequestListener } from 'node:http';
import { createServer } from 'node:http';

/** An HTTP server that answers as a test says, in place of a storage. */
export type AnsweringServer = {
  /** http://127.0.0.1:PORT */
  readonly url: string;
  /** All requests, in order. */
  readonly seen: readonly IncomingMessage[];
  stop(): Promise<void>;
};

/** Starts one; `listener` is called when a request has been received whole. */
export async function startAnsweringServer(listener: RequestListener): Promise<AnsweringServer> {
  const seen: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    seen.push(request);
    request.resume();
    request.once('end', () => listener(request, response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
