import type { RequestKind } from './object-store.ts';

/** One request that ended, for upstream's `storage_s3_call_*` metrics and the cost estimate. */
export type RequestReport = {
  readonly kind: RequestKind | 'create-bucket' | 'create-container';
  readonly durationMs: number;
  /** The kind of failure; absent on success. S3 and Azure: NotFound, Timeout, DNSError, URLError, a service code or Unknown. */
  readonly error?: string;
};

/** What every store takes besides its own options. */
export type StoreHooks = {
  /** Called after every request; must not throw. */
  readonly onRequest?: ((report: RequestReport) => void) | undefined;
  /** Called when an operation begins, as "list main__"; what it returns is called at the end. Neither may throw. */
  readonly onOperation?: ((action: string) => () => void) | undefined;
  /** Milliseconds of a clock that never steps back; `performance.now()` unless given. */
  readonly monotonicMs?: (() => number) | undefined;
};

export type ObserveOptions = StoreHooks & {
  readonly kind: RequestReport['kind'];
  /** The kind of failure; undefined: an answer that only looks like one. */
  readonly errorType: (error: unknown) => string | undefined;
};

/** Runs one request and reports it, whatever its outcome. */
export async function observeRequest<T>(
  run: () => Promise<T>,
  options: ObserveOptions,
): Promise<T> {
  const { onRequest, kind, errorType } = options;
  if (onRequest === undefined) {
    return run();
  }
  const monotonicMs = options.monotonicMs ?? (() => performance.now());
  const startMs = monotonicMs();
  try {
    const result = await run();
    onRequest({ kind, durationMs: monotonicMs() - startMs });
    return result;
  } catch (error) {
    const type = errorType(error);
    const durationMs = monotonicMs() - startMs;
    onRequest(type === undefined ? { kind, durationMs } : { kind, durationMs, error: type });
    throw error;
  }
}
