import type { ProxyEnvironment } from './proxy-rules.ts';

/** TLS towards the storage. An empty text counts as not given. Source: upstream's `tls` map. */
export type TlsOptions = {
  /** PEM; with either of the two, the system's CAs are not trusted unless `addSystemCaPool`. */
  readonly ca?: string | undefined;
  readonly caFile?: string | undefined;
  readonly addSystemCaPool?: boolean | undefined;
  /** PEM of the client's certificate and key; both or neither. */
  readonly cert?: string | undefined;
  readonly certFile?: string | undefined;
  readonly key?: string | undefined;
  readonly keyFile?: string | undefined;
  /** Loads changed files every `watchCertsPollIntervalMs` (5 s), for connections made from then on. */
  readonly watchCerts?: boolean | undefined;
  readonly watchCertsPollIntervalMs?: number | undefined;
  readonly insecureSkipVerify?: boolean | undefined;
  /** Secrets of every connection are appended to this file, for debugging. */
  readonly insecureKeyLogFile?: string | undefined;
};

/** How connections are made and kept, milliseconds. */
export type ConnectionOptions = {
  readonly tls?: TlsOptions | undefined;
  /** HTTP proxies, as the environment names them; not given: none. */
  readonly proxies?: ProxyEnvironment | undefined;
  /** Idle connections are closed after this; 90 s. */
  readonly idleConnTimeoutMs?: number | undefined;
  /** Most idle connections kept; 100. 0: no limit, as upstream. */
  readonly maxIdleConns?: number | undefined;
  /** 10 s each. */
  readonly dialTimeoutMs?: number | undefined;
  readonly dialKeepAliveMs?: number | undefined;
  readonly tlsHandshakeTimeoutMs?: number | undefined;
  /** No byte in either direction for so long ends a request; 30 s. */
  readonly stallTimeoutMs?: number | undefined;
};
