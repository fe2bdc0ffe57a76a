import type { BlockBlobClient, ContainerClient } from '@azure/storage-blob';

import type { OpenedContainer } from './client.ts';
import { azureError, azureErrorType } from './errors.ts';
import type { AzureStoreOptions } from './options.ts';
import type { Operation } from '../storage-session.ts';
import { StorageSession } from '../storage-session.ts';

/** A client with its options: how requests to one container are made, bounded, reported, and how they fail. */
export class AzureSession extends StorageSession<Operation> {
  readonly opened: OpenedContainer;
  readonly options: AzureStoreOptions;
  readonly prefix: string;

  constructor(opened: OpenedContainer, options: AzureStoreOptions) {
    const { container, clientTimeoutMs, globalPrefix = '' } = options;
    super({
      hooks: options,
      clientTimeoutMs,
      errorType: azureErrorType,
      toSyncError: (error, operation) =>
        azureError(error, { ...opened, action: operation.action, container }),
    });
    this.opened = opened;
    this.options = options;
    this.prefix = globalPrefix;
  }

  container(): Promise<ContainerClient> {
    return this.opened.container();
  }

  async blob(name: string): Promise<BlockBlobClient> {
    return (await this.container()).getBlockBlobClient(this.prefix + name);
  }
}
