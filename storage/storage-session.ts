import type { SyncError } from '../protocol/errors.ts';
import { Deadline } from './deadline.ts';
import type { RequestReport, StoreHooks } from './requests.ts';
import { observeRequest } from './requests.ts';

/** Bound on an operation as a whole unless configured; upstream's. */
const CLIENT_TIMEOUT_MS = 15 * 60 * 1000;

/** What is being done, for reports and messages. */
export type Operation = {
  readonly kind: RequestReport['kind'];
  /** "store NAME" */
  readonly action: string;
};

/** What a session needs to know of its storage. */
export type SessionParts<O extends Operation> = {
  readonly hooks: StoreHooks;
  readonly clientTimeoutMs: number | undefined;
  /** The label of a failed request for metrics; undefined: an answer that only looks like a failure. */
  readonly errorType: (error: unknown) => string | undefined;
  /** The SyncError for what the SDK threw. */
  readonly toSyncError: (error: unknown, operation: O) => SyncError;
};

/** How requests to one storage are bounded and reported, and how they fail. */
export class StorageSession<O extends Operation> {
  readonly clientTimeoutMs: number;
  readonly #parts: SessionParts<O>;
  readonly #sdkErrors = new WeakSet<object>();

  constructor(parts: SessionParts<O>) {
    this.#parts = parts;
    this.clientTimeoutMs = parts.clientTimeoutMs ?? CLIENT_TIMEOUT_MS;
  }

  /** One request of the SDK, reported with its outcome. Rejects with the SDK's own error. */
  request<T>(operation: O, run: () => Promise<T>): Promise<T> {
    const { hooks, errorType } = this.#parts;
    const { onRequest, monotonicMs } = hooks;
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
    return observeRequest(marked, { onRequest, monotonicMs, kind: operation.kind, errorType });
  }

  /** The bound of an operation, from its first request to the last byte of its body. Must be disposed. */
  deadline(
    { action }: Operation,
    signal: AbortSignal,
    timeoutMs: number = this.clientTimeoutMs,
  ): Deadline {
    return new Deadline(signal, timeoutMs, { action, ...this.#parts.hooks });
  }

  /** Runs a whole operation under the caller's signal and a time limit; SDK errors leave it as SyncErrors. */
  async within<T>(
    operation: O,
    limits: { signal: AbortSignal; timeoutMs?: number | undefined },
    run: (abortSignal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { signal, timeoutMs = this.clientTimeoutMs } = limits;
    signal.throwIfAborted();
    const deadline = this.deadline(operation, signal, timeoutMs);
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

  /** The SyncError for what a request of this operation was rejected with. */
  mapped(error: unknown, operation: O): SyncError {
    return this.#parts.toSyncError(error, operation);
  }
}
