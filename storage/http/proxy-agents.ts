import { Agent as BaseAgent, type AgentConnectOpts } from 'agent-base';
import { HttpProxyAgent } from 'http-proxy-agent';
import { HttpsProxyAgent } from 'https-proxy-agent';
import type { Agent as HttpAgent, AgentOptions, ClientRequest } from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

import { errorText } from '../../protocol/errors.ts';
import type { ProxyRules } from './proxy-rules.ts';
import {
  limitSocket,
  type SocketLimits,
  timeoutError,
  unwatchStall,
  watchStall,
} from './socket-limits.ts';
import { timerMs } from '../../protocol/time.ts';

/** How connections through a proxy are made. */
export type ProxyAgentOptions = {
  readonly isHttps: boolean;
  readonly rules: ProxyRules;
  /** As for direct connections. */
  readonly agent: AgentOptions;
  /** Until the proxy has made the connection. */
  readonly dialTimeoutMs: number;
  /** From then on. */
  readonly limits: Omit<SocketLimits, 'dialTimeoutMs'>;
};

/** An agent that asks the rules at each request, and hands it to `direct` or to an agent for the proxy. */
export function proxyAgent(direct: HttpAgent | HttpsAgent, options: ProxyAgentOptions): BaseAgent {
  return new ChoosingAgent(direct, options);
}

class ChoosingAgent extends BaseAgent {
  readonly #direct: HttpAgent | HttpsAgent;
  readonly #options: ProxyAgentOptions;
  /** By the proxy's address; the environment names one or two. */
  readonly #proxied = new Map<string, HttpAgent>();

  constructor(direct: HttpAgent | HttpsAgent, options: ProxyAgentOptions) {
    super({ keepAlive: true });
    this.#direct = direct;
    this.#options = options;
  }

  // Unless told, the base class looks for node:https in the call stack.
  override isSecureEndpoint(): boolean {
    return this.#options.isHttps;
  }

  override connect(_request: ClientRequest, options: AgentConnectOpts): HttpAgent {
    const { isHttps, rules } = this.#options;
    const proxy = rules({
      isHttps,
      host: options.host ?? '',
      port: options.port,
    });
    return proxy === undefined ? this.#direct : this.#through(proxy);
  }

  override destroy(): void {
    for (const agent of [this.#direct, ...this.#proxied.values()]) {
      agent.destroy();
    }
    super.destroy();
  }

  #through(proxy: URL): HttpAgent {
    const known = this.#proxied.get(proxy.href);
    if (known !== undefined) {
      return known;
    }
    const agent = this.#options.isHttps
      ? new TunnelAgent(proxy, this.#direct as HttpsAgent, this.#options)
      : new ForwardAgent(proxy, this.#options);
    this.#proxied.set(proxy.href, agent);
    return agent;
  }
}

/** Connections through a tunnel (CONNECT), with TLS inside. */
class TunnelAgent extends HttpsProxyAgent<string> {
  readonly #how: ProxyAgentOptions;
  readonly #toProxy: typeof this.connectOpts;

  constructor(proxy: URL, direct: HttpsAgent, how: ProxyAgentOptions) {
    super(proxy, how.agent);
    this.#how = how;
    this.#toProxy = this.connectOpts;
    // The same object, so that certificates that are loaded anew hold here too.
    this.options = direct.options as typeof this.options;
    // Whoever wants the secrets of connections has asked the direct agent for them.
    if (direct.listenerCount('keylog') > 0) {
      this.on('keylog', (...args: unknown[]) => direct.emit('keylog', ...args));
    }
  }

  override async connect(request: ClientRequest, options: AgentConnectOpts): Promise<Socket> {
    let status: number | undefined;
    request.once('proxyConnect', (answer: { statusCode: number }) => {
      status = answer.statusCode;
    });
    const socket = await dial({ ...this.#how, proxy: this.proxy }, (signal) => {
      const { ca, cert, key, rejectUnauthorized } = this.options;
      // Read at once, before anything is waited for. An https proxy is held to the same CAs as the storage.
      this.connectOpts = {
        ...this.#toProxy,
        ...defined({ ca, cert, key, rejectUnauthorized }),
        signal,
      };
      return super.connect(request, options);
    });
    if (status !== 200) {
      // The library would give out what the proxy said as if it were the storage's answer.
      socket.destroy();
      throw refused(this.proxy, status);
    }
    limitSocket(socket, this.#how.limits);
    return socket;
  }

  override keepSocketAlive(socket: Duplex): void {
    unwatchStall(socket);
    return super.keepSocketAlive(socket);
  }

  override reuseSocket(socket: Duplex, request: ClientRequest): void {
    super.reuseSocket(socket, request);
    watchStall(socket, this.#how.limits);
  }
}

/** Requests without TLS, which the proxy gets with the whole address and sends on itself. */
class ForwardAgent extends HttpProxyAgent<string> {
  readonly #how: ProxyAgentOptions;
  readonly #toProxy: typeof this.connectOpts;

  constructor(proxy: URL, how: ProxyAgentOptions) {
    // One connection per request: a used one would be handed out after the head, with the short path, has been made.
    super(proxy, { ...how.agent, keepAlive: false });
    this.#how = how;
    this.#toProxy = this.connectOpts;
  }

  override async connect(
    request: Parameters<HttpProxyAgent<string>['connect']>[0],
    options: AgentConnectOpts,
  ): Promise<Socket> {
    const socket = await dial({ ...this.#how, proxy: this.proxy }, (signal) => {
      this.connectOpts = { ...this.#toProxy, signal };
      return super.connect(request, options);
    });
    limitSocket(socket, this.#how.limits);
    return socket;
  }
}

/** Bounds the way to the proxy and its answer: the signal ends the socket. */
async function dial(
  { proxy, dialTimeoutMs }: { readonly proxy: URL; readonly dialTimeoutMs: number },
  connect: (signal: AbortSignal) => Promise<Socket>,
): Promise<Socket> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), timerMs(dialTimeoutMs));
  try {
    return await connect(controller.signal);
  } catch (error) {
    if (controller.signal.aborted) {
      throw timeoutError(`the proxy gave no connection within ${dialTimeoutMs} ms`);
    }
    // Its own code, or a proxy that is not there would look like a storage that is not there.
    throw proxyError(
      'EPROXYFAILED',
      `no connection to the proxy ${proxy.host}: ${errorText(error)}`,
    );
  } finally {
    clearTimeout(timer);
  }
}

function refused(proxy: URL, status: number | undefined): Error {
  const isDenied = status === 401 || status === 403 || status === 407;
  const text = `the proxy ${proxy.host} answered HTTP ${status ?? 'nothing'}`;
  return proxyError(isDenied ? 'EPROXYDENIED' : 'EPROXYFAILED', text);
}

/** The code is in the text too: SDKs do not always keep the field. */
function proxyError(code: 'EPROXYDENIED' | 'EPROXYFAILED', text: string): Error {
  return Object.assign(new Error(`${code}: ${text}`), { code });
}

function defined<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined),
  ) as Partial<T>;
}
