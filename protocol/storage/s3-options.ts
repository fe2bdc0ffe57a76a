import type { StoreHooks } from './requests.ts';

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

/** Where keys come from. Files before static keys before the SDK's chain (environment, profile, web identity, role). */
export type CredentialOptions = {
  readonly accessKey?: string | undefined;
  readonly secretKey?: string | undefined;
  readonly accessKeyFile?: string | undefined;
  readonly secretKeyFile?: string | undefined;
  /** How long the files' content is used before they are read again; 15 s, at least 1 s. */
  readonly secretsRefreshIntervalMs?: number | undefined;
};

/**
 * Upstream's `storage.options` of type `s3`, in our spelling, and `forcePathStyle`. An empty text counts as not given.
 */
export type S3StoreOptions = StoreHooks &
  ConnectionOptions &
  CredentialOptions & {
    readonly bucket: string;
    /** us-east-1 unless given, as upstream. */
    readonly region?: string | undefined;
    readonly storageClass?: string | undefined;
    readonly createBucket?: boolean | undefined;
    /** Put before every name as it is; no separator is added. */
    readonly globalPrefix?: string | undefined;
    /** Both list one level only and leave out names ending in "/"; the first is the deprecated spelling. */
    readonly prefixFolders?: boolean | undefined;
    readonly hideFolders?: boolean | undefined;
    /** With http:// or https://. Not given, or upstream's default `https://s3.amazonaws.com`: AWS, by region. */
    readonly endpointUrl?: string | undefined;
    /** The bucket in the path instead of the host name; true where another endpoint than AWS's is given. */
    readonly forcePathStyle?: boolean | undefined;
    readonly disableSendContentMd5?: boolean | undefined;
    /** Parts of one upload under way at once; 0: two. Each holds 8 MiB. */
    readonly numMinioThreads?: number | undefined;
    /** Bound on finding or making the bucket at start; 20 s. */
    readonly initTimeoutMs?: number | undefined;
    /** Bound on every operation as a whole; 15 min. */
    readonly clientTimeoutMs?: number | undefined;
  };
