export type BackoffOptions = {
  /** Upper bound of the first pause. */
  readonly minMs: number;
  /** Upper bound of every pause. */
  readonly maxMs: number;
  /** In [0, 1). */
  readonly random: () => number;
  /** Growth from one pause's bound to the next; 2 unless given. */
  readonly factor?: number | undefined;
};

/** The pauses between tries of one thing. */
export interface Backoff {
  /** The next pause in milliseconds: between half its bound and its bound, so that many agents do not try together. */
  next(): number;
  /** After a success: the next pause is the first one again. */
  reset(): void;
}

/** Pauses that grow from `minMs` to `maxMs` and are spread at random. */
export function backoff(options: BackoffOptions): Backoff {
  const { maxMs, random, factor = 2 } = options;
  const firstMs = Math.min(options.minMs, maxMs);
  let boundMs = firstMs;
  return {
    next() {
      const pauseMs = boundMs * (0.5 + random() / 2);
      boundMs = Math.min(boundMs * factor, maxMs);
      return pauseMs;
    },
    reset() {
      boundMs = firstMs;
    },
  };
}

/** The pause after so many failures in a row: half a second at first, doubling up to `maxMs`. */
export function retryDelay(maxMs: number, failures: number): number {
  return Math.min(maxMs, 250 * 2 ** Math.min(failures, 20));
}
