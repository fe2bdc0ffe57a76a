/**
 * What a notice says: these objects exist now (a hint: repeated, unordered, perhaps gone again), or only that a
 * listing pass is due.
 */
export type OnNotice = (names: readonly string[] | 'list') => void;

/** Tells when there is something new in the storage; one per store, for all its databases. */
export interface NoticeSource {
  readonly kind: 'poll' | 'marker' | 'watch' | 'queue';
  /**
   * Calls `onNotice` until `signal` aborts, then resolves. It starts with "list": what was stored before it ran is
   * announced by nobody. Rejects only with a bug: outside trouble is survived and ends in a "list".
   */
  run(onNotice: OnNotice, signal: AbortSignal): Promise<void>;
}
