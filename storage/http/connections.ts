import { appendFile, readFile } from 'node:fs/promises';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { createSecureContext, rootCertificates } from 'node:tls';

import { errorText, SyncError } from '../../protocol/errors.ts';
import type { ConnectionOptions, TlsOptions } from './connection-options.ts';
import { parseProxyRules } from './proxy-rules.ts';
import { limitSocket, type SocketLimits, unwatchStall, watchStall } from './socket-limits.ts';
import { timerMs } from '../../protocol/time.ts';

const SECOND = 1000;

/** What both kinds of agents take; the SDK makes the plain one from it. */
export function agentOptions(
  options: ConnectionOptions,
): NonNullable<ConstructorParameters<typeof HttpAgent>[0]> {
  const { maxIdleConns = 100 } = options;
  return {
    keepAlive: true,
    keepAliveMsecs: options.dialKeepAliveMs ?? 10 * SECOND,
    // While a connection is idle; a request in flight has its own limit.
    timeout: timerMs(options.idleConnTimeoutMs ?? 90 * SECOND),
    maxFreeSockets: maxIdleConns === 0 ? Infinity : maxIdleConns,
  };
}

/** Connections to a storage, by scheme. */
export type Agents = {
  readonly http: HttpAgent;
  readonly https: HttpAgent;
  /** Ends connections and stops watching files. */
  readonly close: () => void;
};

/**
 * The agents for http and https, bounded by what `limits` says, and through the proxies that the options name. Rejects with
 * CONFIG_INVALID as {@link openHttpsAgent}, and for the address of a proxy that is none.
 */
export async function openAgents(
  options: ConnectionOptions,
  limits: SocketLimits,
): Promise<Agents> {
  const rules = options.proxies === undefined ? undefined : parseProxyRules(options.proxies);
  const http = bounded(new HttpAgent(agentOptions(options)), limits);
  const https = await openHttpsAgent(options, limits);
  const close = () => {
    http.destroy();
    https.close();
  };
  if (rules === undefined) {
    return { http, https: https.agent, close };
  }
  // Only where there is a proxy: nobody else pays for it.
  const { proxyAgent } = await import('./proxy-agents.ts');
  const { dialTimeoutMs, ...rest } = limits;
  const how = {
    rules,
    agent: agentOptions(options),
    dialTimeoutMs: dialTimeoutMs ?? options.dialTimeoutMs ?? 10 * SECOND,
    limits: { ...rest, handshakeTimeoutMs: options.tlsHandshakeTimeoutMs ?? 10 * SECOND },
  };
  const proxied = {
    http: proxyAgent(http, { ...how, isHttps: false }),
    https: proxyAgent(https.agent, { ...how, isHttps: true }),
  };
  return {
    ...proxied,
    close() {
      proxied.http.destroy();
      proxied.https.destroy();
      close();
    },
  };
}

/** Certificates and keys, as Node's TLS takes them. */
type Material = { ca?: string[]; cert?: string; key?: string };

/**
 * Makes the agent for https connections, with the handshake's limit and what else `limits` says.
 * `close` ends connections and stops watching files.
 *
 * Errors: CONFIG_INVALID if a file cannot be read, or half of the client's certificate is missing.
 */
export async function openHttpsAgent(
  options: ConnectionOptions,
  limits: SocketLimits = {},
): Promise<{ agent: HttpsAgent; close: () => void }> {
  const tls = options.tls ?? {};
  const agent = bounded(
    new HttpsAgent({
      ...agentOptions(options),
      ...(await loadMaterial(tls)),
      rejectUnauthorized: tls.insecureSkipVerify !== true,
    }),
    { ...limits, handshakeTimeoutMs: options.tlsHandshakeTimeoutMs ?? 10 * SECOND },
  );
  const { insecureKeyLogFile = '' } = tls;
  if (insecureKeyLogFile !== '') {
    await logKeys(agent, insecureKeyLogFile);
  }
  const watcher = tls.watchCerts === true ? watchMaterial(agent, tls) : undefined;
  return {
    agent,
    close() {
      clearInterval(watcher);
      agent.destroy();
    },
  };
}

/**
 * The agent itself. It bounds from now on what Node and the SDK do not: the TLS handshake, and for Azure's SDK the rest too.
 * One function for both kinds of agents, where two subclasses would say everything twice.
 */
function bounded<A extends HttpAgent>(agent: A, limits: SocketLimits): A {
  const own: HttpAgent = agent;
  const connect = own.createConnection.bind(own);
  const keep = own.keepSocketAlive.bind(own);
  const reuse = own.reuseSocket.bind(own);
  own.createConnection = (...args) => {
    const socket = connect(...args);
    limitSocket(socket, limits);
    return socket;
  };
  own.keepSocketAlive = (socket) => {
    unwatchStall(socket);
    // Whether the connection can be kept is what it returns, whatever its type says.
    return keep(socket);
  };
  own.reuseSocket = (socket, request) => {
    reuse(socket, request);
    watchStall(socket, limits);
  };
  return agent;
}

async function loadMaterial(tls: TlsOptions): Promise<Material> {
  const [ca, cert, key] = await Promise.all([
    textOrFile('ca', tls.ca, tls.caFile),
    textOrFile('cert', tls.cert, tls.certFile),
    textOrFile('key', tls.key, tls.keyFile),
  ]);
  if ((cert === undefined) !== (key === undefined)) {
    throw new SyncError('CONFIG_INVALID', 'storage.options.tls has one of cert and key', {
      hint: 'Set both (cert or cert_file, key or key_file), or neither.',
    });
  }
  if (cert !== undefined && key !== undefined) {
    requirePair(cert, key);
  }
  return {
    ...(ca === undefined
      ? {}
      : { ca: tls.addSystemCaPool === true ? [...rootCertificates, ca] : [ca] }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  };
}

/** Otherwise every connection would fail, and in the middle of a rotation the old pair would be lost. */
function requirePair(cert: string, key: string): void {
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    throw new SyncError(
      'CONFIG_INVALID',
      `storage.options.tls has a cert and a key that cannot be used together: ${errorText(error)}`,
      {
        hint: "Give a PEM certificate and that certificate's own PEM key, without a password.",
        cause: error,
      },
    );
  }
}

async function textOrFile(name: string, text = '', path = ''): Promise<string | undefined> {
  if (path === '') {
    return text === '' ? undefined : text;
  }
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new SyncError(
      'CONFIG_INVALID',
      `cannot read storage.options.tls.${name}_file: ${errorText(error)}`,
      { hint: 'Give the path of a PEM file that the user of this agent can read.', cause: error },
    );
  }
}

/** New connections use what the files hold; the agent keeps connections of other material apart by itself. */
function watchMaterial(agent: HttpsAgent, tls: TlsOptions): NodeJS.Timeout {
  const timer = setInterval(
    () => {
      loadMaterial(tls).then(
        (material) => Object.assign(agent.options, material),
        // In the middle of a rotation: what was loaded before stays in use until the files are whole, and fit, again.
        () => undefined,
      );
    },
    timerMs(tls.watchCertsPollIntervalMs ?? 5 * SECOND),
  );
  timer.unref();
  return timer;
}

async function logKeys(agent: HttpsAgent, path: string): Promise<void> {
  try {
    await appendFile(path, '', { mode: 0o600 });
  } catch (error) {
    throw new SyncError(
      'CONFIG_INVALID',
      `cannot write storage.options.tls.insecure_key_log_file: ${errorText(error)}`,
      { hint: 'Give the path of a file that the user of this agent can write.', cause: error },
    );
  }
  agent.on('keylog', (line: Buffer) => {
    // A debugging aid: a line that cannot be written must not end the connection.
    appendFile(path, line).catch(() => undefined);
  });
}
