import type { ConnectionOptions } from '../http/connection-options.ts';
import type { KeyReload } from '../http/key-reload.ts';
import type { StoreHooks } from '../requests.ts';

/** Where keys come from. Files before static keys before the SDK's chain (environment, profile, web identity, role). */
export type CredentialOptions = {
  readonly accessKey?: string | undefined;
  readonly secretKey?: string | undefined;
  readonly accessKeyFile?: string | undefined;
  readonly secretKeyFile?: string | undefined;
  /** How long the files' content is used before they are read again; 15 s, at least 1 s. */
  readonly secretsRefreshIntervalMs?: number | undefined;
  /** Says when keys and key files are to be taken anew. What begins with the SDK's chain stays with it. */
  readonly keyReload?: KeyReload | undefined;
};

/**
 * Upstream's `storage.options` of type `s3`, in our spelling, and `forcePathStyle`. An empty text counts as not given.
 */
export type S3StoreOptions = StoreHooks &
  ConnectionOptions &
  CredentialOptions & {
    readonly bucket: string;
    /** Not given: at AWS that of the SDK (environment, profile), else us-east-1, as upstream. */
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
