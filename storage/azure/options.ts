import type { ConnectionOptions } from '../http/connection-options.ts';
import type { KeyReload } from '../http/key-reload.ts';
import type { StoreHooks } from '../requests.ts';

/** How requests are allowed. An empty text counts as not given. */
export type AzureCredentialOptions = {
  /** Needed with a shared key, and without `endpointUrl`. */
  readonly accountName?: string | undefined;
  readonly accountKey?: string | undefined;
  /** Before `accountKey`. */
  readonly accountKeyFile?: string | undefined;
  /** How long the file's content is used before it is read again; 15 s, at least 1 s. */
  readonly secretsRefreshIntervalMs?: number | undefined;
  /** The account's key; without it a SAS in `endpointUrl`, else the credential chain of Azure's SDK. */
  readonly useSharedKey?: boolean | undefined;
  /** With http:// or https://; the query is a SAS. Not given: the account's at blob.core.windows.net. */
  readonly endpointUrl?: string | undefined;
  /** Says when the account's key, or its file, is to be taken anew. */
  readonly keyReload?: KeyReload | undefined;
};

/** Upstream's `storage.options` of type `azure`, in our spelling. An empty text counts as not given. */
export type AzureStoreOptions = StoreHooks &
  ConnectionOptions &
  AzureCredentialOptions & {
    readonly container: string;
    readonly createContainer?: boolean | undefined;
    /** Put before every name as it is; no separator is added. */
    readonly globalPrefix?: string | undefined;
    /** Blocks of one upload under way at once; 0: one. Each holds 8 MiB. */
    readonly concurrency?: number | undefined;
    /** Names per listing request; 5,000, the most there can be. */
    readonly listPageNames?: number | undefined;
    /** Bound on finding or making the container at start; 20 s. */
    readonly initTimeoutMs?: number | undefined;
    /** Bound on every operation as a whole; 15 min. */
    readonly clientTimeoutMs?: number | undefined;
  };
