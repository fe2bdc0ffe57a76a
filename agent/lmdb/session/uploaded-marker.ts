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

/** The marker up to which all of them say that changes were sent; undefined: one says that none was. */
export function oldestMarker(markers: readonly (number | undefined)[]): number | undefined {
  return markers.includes(undefined) ? undefined : Math.min(...markers.map(Number));
}
