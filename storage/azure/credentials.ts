import type { TokenCredential } from '@azure/identity';

import { SyncError } from '../../protocol/errors.ts';
import type { AzureCredentialOptions } from './options.ts';
import type { KeyOptions } from '../http/key-reload.ts';
import { KEYS_REFRESH_MIN_MS, KEYS_REFRESH_MS, readKeyFile } from '../http/key-file.ts';

/** What proves that a request is allowed. */
export type AzureCredentials =
  | {
      readonly kind: 'shared-key';
      readonly accountName: string;
      /** The key as it is now; rejects with STORAGE_DENIED where its file cannot be read. */
      readonly key: () => Promise<string>;
    }
  /** Part of the URL. */
  | { readonly kind: 'sas' }
  /** Environment, workload identity, managed identity, the CLI: whatever the SDK finds first. */
  | { readonly kind: 'default'; readonly credential: TokenCredential };

/**
 * The endpoint, and how requests to it are allowed: the account's key, else a SAS in the endpoint's query, else the SDK's
 * credential chain, which is loaded only then. Throws CONFIG_INVALID for what cannot be used.
 */
export async function openAzureCredentials(
  options: AzureCredentialOptions,
  monotonicMs: () => number = () => performance.now(),
): Promise<{ endpoint: URL; credentials: AzureCredentials }> {
  const { accountName = '', accountKey = '', accountKeyFile = '' } = options;
  const endpoint = azureEndpoint(options);
  if (options.useSharedKey === true) {
    if (accountName === '') {
      throw new SyncError('CONFIG_INVALID', 'use_shared_key needs account_name', {
        hint: 'Set account_name to the name of the storage account.',
      });
    }
    if (accountKey === '' && accountKeyFile === '') {
      throw new SyncError(
        'CONFIG_INVALID',
        'use_shared_key needs account_key or account_key_file',
        {
          hint: 'Set one of them, or leave out use_shared_key for the credential chain of the Azure SDK.',
        },
      );
    }
    const key = accountKeyOf(options, monotonicMs);
    return { endpoint, credentials: { kind: 'shared-key', accountName, key } };
  }
  if (endpoint.searchParams.has('sig')) {
    return { endpoint, credentials: { kind: 'sas' } };
  }
  if (endpoint.protocol !== 'https:') {
    throw new SyncError('CONFIG_INVALID', 'the Azure SDK sends its credentials over https only', {
      hint: 'Set endpoint_url to an https:// address, or use_shared_key and the account key.',
    });
  }
  const { DefaultAzureCredential } = await import('@azure/identity');
  return { endpoint, credentials: { kind: 'default', credential: new DefaultAzureCredential() } };
}

function azureEndpoint({ accountName = '', endpointUrl = '' }: AzureCredentialOptions): URL {
  if (endpointUrl === '' && !/^[a-z0-9-]+$/.test(accountName)) {
    throw new SyncError(
      'CONFIG_INVALID',
      'storage.options has neither endpoint_url nor a valid account_name',
      { hint: 'Set account_name to the name of the storage account (small letters and digits).' },
    );
  }
  const text = endpointUrl === '' ? `https://${accountName}.blob.core.windows.net` : endpointUrl;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    // Without the text: it may hold a SAS.
    throw new SyncError('CONFIG_INVALID', 'endpoint_url is no URL with http:// or https://', {
      hint: 'Write it as https://HOST or http://HOST:PORT/ACCOUNT.',
    });
  }
  if (url.username !== '' || url.password !== '') {
    throw new SyncError('CONFIG_INVALID', 'endpoint_url must not hold a user name or password', {
      hint: 'Set account_name, account_key and use_shared_key instead.',
    });
  }
  return url;
}

/** The key as it is at each call: that of the file, which is read anew every interval, or the configured one. */
function accountKeyOf(
  options: AzureCredentialOptions,
  monotonicMs: () => number,
): () => Promise<string> {
  const refreshMs = options.secretsRefreshIntervalMs ?? KEYS_REFRESH_MS;
  if ((options.accountKeyFile ?? '') !== '' && refreshMs < KEYS_REFRESH_MIN_MS) {
    throw new SyncError('CONFIG_INVALID', 'secrets_refresh_interval is below 1s', {
      hint: 'Set it to 1s or more.',
    });
  }
  let source: KeyOptions = options;
  let read: { readonly key: string; readonly atMs: number } | undefined;
  options.keyReload?.onReload((next) => {
    // What a file held before stays good while a rotation has emptied it; another file's does not.
    const isSameFile = next.accountKeyFile === source.accountKeyFile;
    read =
      isSameFile && read !== undefined ? { ...read, atMs: Number.NEGATIVE_INFINITY } : undefined;
    source = next;
  });
  return async () => {
    const { accountKey = '', accountKeyFile = '' } = source;
    if (accountKeyFile === '') {
      return accountKey;
    }
    const nowMs = monotonicMs();
    if (read === undefined || nowMs - read.atMs >= refreshMs) {
      read = { key: await readKeyFile(accountKeyFile, read?.key), atMs: nowMs };
    }
    return read.key;
  };
}
