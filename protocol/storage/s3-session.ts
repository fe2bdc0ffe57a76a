import { Deadline } from './deadline.ts';
import type { RequestReport } from './requests.ts';
import { observeRequest } from './requests.ts';
import type { OpenedClient } from './s3-client.ts';
import { s3Error, s3ErrorType } from './s3-errors.ts';
import type { S3StoreOptions } from './s3-options.ts';
import type { SyncError } from '../errors.ts';

const CLIENT_TIMEOUT_MS = 15 * 60 * 1000;

/** What is being done, for reports and messages. */
export type Operation = {
  readonly kind: RequestReport['kind'];
  /** "store NAME" */
  readonly action: string;
  /** The IAM action that it needs. */
  readonly permission: string;
};

/** A client with its options: how requests to one bucket are made, bounded, reported, and how they fail. */
export class S3Session {
  readonly opened: OpenedClient;
  readonly options: S3StoreOptions;
  readonly clientTimeoutMs: number;
  readonly #prefix: string;
  readonly #sdkErrors = new WeakSet<object>();

  constructor(opened: OpenedClient, options: S3StoreOptions) {
    this.opened = opened;
    this.options = options;
    this.clientTimeoutMs = options.clientTimeoutMs ?? CLIENT_TIMEOUT_MS;
    this.#prefix = options.globalPrefix ?? '';
  }

  location(name: string): { Bucket: string; Key: string } {
    return { Bucket: this.options.bucket, Key: this.#prefix + name };
  }

  /** One request of the SDK, reported with its outcome. Rejects with the SDK's own error. */
  request<T>(operation: Operation, run: () => Promise<T>): Promise<T> {
    const { onRequest, monotonicMs } = this.options;
    const marked = async () => {
      try {
        return await run();
      } catch (error) {
        if (typeof error === 'object' && error !== null) {
          this.#sdkErrors.add(error);
        }
        throw error;
      }
    };
    return observeRequest(marked, {
      onRequest,
      monotonicMs,
      kind: operation.kind,
      errorType: s3ErrorType,
    });
  }

  /** Runs a whole operation under the caller's signal and a time limit; SDK errors leave it as SyncErrors. */
  async within<T>(
    operation: Operation,
    limits: { signal: AbortSignal; timeoutMs?: number | undefined },
    run: (abortSignal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { signal, timeoutMs = this.clientTimeoutMs } = limits;
    signal.throwIfAborted();
    const deadline = new Deadline(signal, timeoutMs, operation.action);
    try {
      return await run(deadline.signal);
    } catch (error) {
      // A body that failed is the caller's own error and reaches it as it is.
      const isSdk = typeof error === 'object' && error !== null && this.#sdkErrors.has(error);
      throw deadline.reasonOf(isSdk ? this.mapped(error, operation) : error);
    } finally {
      deadline[Symbol.dispose]();
    }
  }

  mapped(error: unknown, operation: Operation): SyncError {
    const { bucket, accessKey = '', accessKeyFile = '' } = this.options;
    return s3Error(error, {
      ...operation,
      bucket,
      host: this.opened.host,
      keysMayChange: accessKeyFile !== '' || accessKey === '',
    });
  }
}
