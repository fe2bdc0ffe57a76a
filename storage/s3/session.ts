import type { OpenedClient } from './client.ts';
import { s3Error, s3ErrorType } from './errors.ts';
import type { S3StoreOptions } from './options.ts';
import type { Operation } from '../storage-session.ts';
import { StorageSession } from '../storage-session.ts';

/** What is being done, with the IAM action that it needs. */
export type S3Operation = Operation & { readonly permission: string };

/** A client with its options: how requests to one bucket are made, bounded, reported, and how they fail. */
export class S3Session extends StorageSession<S3Operation> {
  readonly opened: OpenedClient;
  readonly options: S3StoreOptions;
  readonly #prefix: string;

  constructor(opened: OpenedClient, options: S3StoreOptions) {
    const { bucket, accessKey = '', accessKeyFile = '', clientTimeoutMs } = options;
    const keysMayChange = accessKeyFile !== '' || accessKey === '';
    super({
      hooks: options,
      clientTimeoutMs,
      errorType: s3ErrorType,
      toSyncError: (error, operation) =>
        s3Error(error, { ...operation, bucket, host: opened.host, keysMayChange }),
    });
    this.opened = opened;
    this.options = options;
    this.#prefix = options.globalPrefix ?? '';
  }

  location(name: string): { Bucket: string; Key: string } {
    return { Bucket: this.options.bucket, Key: this.#prefix + name };
  }
}
