import type * as sdkModule from '@azure/storage-blob';
import type { ContainerClient } from '@azure/storage-blob';

import { SyncError } from '../../protocol/errors.ts';
import { type AzureCredentials, openAzureCredentials } from './credentials.ts';
import type { AzureStoreOptions } from './options.ts';
import { openAgents } from '../http/connections.ts';
import {
  AZURE_RETRY_DELAY_MAX_MS,
  AZURE_RETRY_DELAY_MS,
  REQUEST_ATTEMPTS,
  STALL_TIMEOUT_MS,
} from '../limits.ts';

type AzureSdk = typeof sdkModule;

/** A container that can be asked, and what messages about it need. */
export type OpenedContainer = {
  /** The client with the key as it is now. */
  readonly container: () => Promise<ContainerClient>;
  readonly host: string;
  readonly credentialKind: AzureCredentials['kind'];
  /** Refused credentials may be right later: a key file and the SDK's chain are asked again. */
  readonly keysMayChange: boolean;
  readonly close: () => void;
};

/** Loads the SDK and makes the client; no request yet. Rejects with CONFIG_INVALID. */
export async function openAzureContainer(options: AzureStoreOptions): Promise<OpenedContainer> {
  if (options.container === '') {
    throw new SyncError('CONFIG_INVALID', 'storage.options has no container', {
      hint: 'Set container to the name of the container.',
    });
  }
  const { endpoint, credentials } = await openAzureCredentials(options);
  // Every limit: the SDK has none of its own.
  const agents = await openAgents(options, {
    dialTimeoutMs: options.dialTimeoutMs ?? 10_000,
    stallTimeoutMs: options.stallTimeoutMs ?? STALL_TIMEOUT_MS,
  });
  const sdk = await import('@azure/storage-blob');
  // The SDK's own types leave the agent out of a pipeline's options; it hands them on to one that takes it.
  const pipelineOptions = {
    agent: endpoint.protocol === 'https:' ? agents.https : agents.http,
    retryOptions: {
      maxTries: REQUEST_ATTEMPTS,
      retryDelayInMs: AZURE_RETRY_DELAY_MS,
      maxRetryDelayInMs: AZURE_RETRY_DELAY_MAX_MS,
    },
  };
  const url = new URL(endpoint);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${options.container}`;
  const open = (credential: Parameters<AzureSdk['newPipeline']>[0]) =>
    new sdk.ContainerClient(url.href, sdk.newPipeline(credential, pipelineOptions));
  return {
    container: containerOf(sdk, credentials, open),
    host: endpoint.host,
    credentialKind: credentials.kind,
    keysMayChange:
      credentials.kind === 'default' ||
      (credentials.kind === 'shared-key' && (options.accountKeyFile ?? '') !== ''),
    close: agents.close,
  };
}

function containerOf(
  sdk: AzureSdk,
  credentials: AzureCredentials,
  open: (credential: Parameters<AzureSdk['newPipeline']>[0]) => ContainerClient,
): () => Promise<ContainerClient> {
  if (credentials.kind !== 'shared-key') {
    const client = open(
      credentials.kind === 'default' ? credentials.credential : new sdk.AnonymousCredential(),
    );
    return async () => client;
  }
  let opened: { key: string; client: ContainerClient } | undefined;
  return async () => {
    const key = await credentials.key();
    if (opened?.key !== key) {
      // A client costs no connection: those are the agent's.
      const credential = new sdk.StorageSharedKeyCredential(credentials.accountName, key);
      opened = { key, client: open(credential) };
    }
    return opened.client;
  };
}
