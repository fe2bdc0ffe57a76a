import type { Exchanged } from '../sync-state-text.ts';

/** The transaction up to which local changes are in stored objects, as a run knows it. */
export class UploadedMarker {
  #txnId: number | undefined;
  #version = 0;

  /** undefined: none is. It may be ahead of the marker in `_sync_state`. */
  get txnId(): number | undefined {
    return this.#txnId;
  }

  /** Goes up when the marker goes back: an object that was encoded before must not move it forward again. */
  get version(): number {
    return this.#version;
  }

  /** An object that was encoded at this transaction and this version is stored. */
  moveTo(txnId: number, version: number): void {
    if (version === this.#version) {
      this.#txnId = txnId;
    }
  }

  /** Changes since then are to be sent, again or for the first time. */
  moveBack(txnId: number | undefined): void {
    this.#txnId = txnId;
    this.#version += 1;
  }
}

/**
 * What all of them have sent and received. Marker: undefined, where one says that nothing was sent. Time: undefined, where
 * none says any.
 */
export function oldestExchange(all: readonly Exchanged[]): Exchanged {
  const markers = all.map(({ uploadedTxn }) => uploadedTxn);
  const times = all.map(({ syncedNs }) => syncedNs).filter((time) => time !== undefined);
  return {
    uploadedTxn: markers.includes(undefined) ? undefined : Math.min(...markers.map(Number)),
    syncedNs: times.toSorted((one, other) => (one < other ? -1 : 1))[0],
  };
}
