import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { errorText, SyncError } from '../../protocol/errors.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { parseListenAddress } from '../config/value-types.ts';
import { findCost } from './cost-estimate.ts';
import { DebugRoutes } from './debug-routes.ts';
import type { Healthz } from './healthz.ts';
import { answerHeaders, answerJson, answerText, type Answer } from './answer.ts';
import type { Logger } from '../log/log.ts';
import type { Metrics } from '../monitor/metrics.ts';
import { statusJson } from './status-json.ts';
import { PAGE_POLICY, statusPage, viewJson } from './page/page.ts';
import { statusView, type StatusView } from './page/view.ts';
import type { StatusSource } from '../monitor/status.ts';

/** Upstream's limit for `/storage`, a listing of everything. */
const STORAGE_TIMEOUT_MS = 10_000;
/** Longer than any scrape or page takes; a client that sends nothing does not hold a connection for ever. */
const REQUEST_TIMEOUT_MS = 30_000;
const MAX_CONNECTIONS = 200;

export type StatusServerDeps = {
  /** `host:port`, `:port` for all addresses. */
  readonly address: string;
  readonly status: StatusSource;
  readonly healthz: Healthz;
  readonly metrics: Metrics;
  readonly store: ObjectStore;
  readonly log: Logger;
  readonly now: () => number;
  /** Whether profiles are served under `/debug/pprof/`. */
  readonly debug?: boolean | undefined;
};

/**
 * The HTTP server: `/`, `/status.json`, `/healthz`, `/livez`, `/readyz`, `/metrics`, `/storage`, and `/debug/pprof/` where
 * that is on.
 *
 * All but `/storage` answer from memory. Plain HTTP without authentication, as upstream's: bind it where only
 * operators reach it. Source: PowerDNS/lightningstream `status/httpd.go`.
 */
export class StatusServer implements AsyncDisposable {
  readonly #deps: StatusServerDeps;
  readonly #server: Server;
  readonly #debug: DebugRoutes | undefined;

  constructor(deps: StatusServerDeps) {
    this.#deps = deps;
    this.#debug = deps.debug === true ? new DebugRoutes() : undefined;
    this.#server = createServer((request, response) => {
      void this.#handle(request, response);
    });
    this.#server.requestTimeout = REQUEST_TIMEOUT_MS;
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Resolves with the port once it listens. Errors: CONFIG_INVALID where the address cannot be used. */
  listen(): Promise<number> {
    const { address } = this.#deps;
    const parsed = parseListenAddress(address);
    return new Promise((resolve, reject) => {
      const fail = (cause: unknown) => {
        reject(
          new SyncError('CONFIG_INVALID', `cannot listen on ${address}: ${errorText(cause)}`, {
            hint: 'Set http.address to an address of this host and a free port.',
            cause,
          }),
        );
      };
      if (parsed === undefined) {
        fail(new Error('not host:port'));
        return;
      }
      this.#server.once('error', fail);
      this.#server.listen({ port: parsed.port, host: parsed.host }, () => {
        this.#server.off('error', fail);
        this.#server.on('error', (error) => {
          this.#deps.log.error({ error: errorText(error) }, 'HTTP server error');
        });
        const { port } = this.#server.address() as AddressInfo;
        this.#deps.log.info({ address, port }, 'HTTP server enabled');
        resolve(port);
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let answer: Answer;
    try {
      answer = await this.#answer(request, response);
    } catch (error) {
      answer = answerText(500, errorText(error));
    }
    response.writeHead(answer.statusCode, answerHeaders(answer));
    response.end(request.method === 'HEAD' ? undefined : answer.body);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<Answer> {
    const { status, healthz, metrics, now } = this.#deps;
    const path = request.url ?? '/';
    if (!URL.canParse(path, 'http://agent')) {
      return NOT_FOUND;
    }
    const url = new URL(path, 'http://agent');
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return answerText(405, 'only GET and HEAD are answered here');
    }
    if (isFromElsewhere(request)) {
      return answerText(403, 'not for pages of other sites');
    }
    switch (url.pathname) {
      case '/':
        return {
          statusCode: 200,
          type: 'text/html; charset=utf-8',
          body: statusPage(this.#view()),
          policy: PAGE_POLICY,
        };
      case '/status-view.json':
        return answerJson(200, viewJson(this.#view()));
      case '/status.json':
        return answerJson(200, `${JSON.stringify(statusJson(status, now()))}\n`);
      case '/healthz': {
        const { statusCode, body } = healthz.answer();
        return answerJson(statusCode, body);
      }
      case '/livez': {
        const { statusCode, body } = healthz.live();
        return answerJson(statusCode, body);
      }
      case '/readyz': {
        const { statusCode, body } = healthz.ready();
        return answerJson(statusCode, body);
      }
      case '/metrics':
        return { statusCode: 200, type: metrics.contentType, body: await metrics.text() };
      case '/storage':
        return this.#storage(response);
      default: {
        const debug = await this.#debug?.answer(url, closed(response));
        return debug ?? NOT_FOUND;
      }
    }
  }

  #view(): StatusView {
    const { status, healthz, now } = this.#deps;
    const databases = status.databases();
    const nowMs = now();
    const parts = { databases, checks: healthz.checks(databases), cost: findCost(status, nowMs) };
    return statusView(status, parts, nowMs);
  }

  /** Everything in the storage, whichever database or instance it belongs to. */
  async #storage(response: ServerResponse): Promise<Answer> {
    const signal = AbortSignal.any([closed(response), AbortSignal.timeout(STORAGE_TIMEOUT_MS)]);
    const lines = ['Name\tSize'];
    try {
      for await (const { name, sizeBytes } of this.#deps.store.list('', { signal })) {
        lines.push(`${name}\t${sizeBytes}`);
      }
    } catch (error) {
      return answerText(500, `cannot list the storage: ${errorText(error)}`);
    }
    return answerText(200, lines.join('\n'));
  }
}

const NOT_FOUND = answerText(
  404,
  'not found; there are /, /status.json, /healthz, /livez, /readyz, /metrics and /storage, and /debug/pprof/ where http.debug is on',
);

/** Aborts when the client has gone. */
function closed(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  return gone.signal;
}

/**
 * Asked for by a page of another site in an operator's browser. It could not read the answer, but a listing of the storage
 * costs money and a profile time. Links from elsewhere are fine: they navigate.
 */
function isFromElsewhere({ headers }: IncomingMessage): boolean {
  return headers['sec-fetch-site'] === 'cross-site' && headers['sec-fetch-mode'] !== 'navigate';
}
