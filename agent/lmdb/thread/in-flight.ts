import assert from 'node:assert';
import type { UploadedMarker } from '../session/uploaded-marker.ts';

/** Objects that were encoded, and are neither acknowledged nor given back. */
export class InFlight {
  readonly #objects = new Map<number, { readonly txnId: number; readonly markerVersion: number }>();
  #lastToken = 0;

  /** The token of an object that was encoded at this transaction. */
  add(txnId: number, { version }: UploadedMarker): number {
    this.#lastToken += 1;
    this.#objects.set(this.#lastToken, { txnId, markerVersion: version });
    return this.#lastToken;
  }

  /** It is stored: the marker moves. */
  acknowledge(token: number, marker: () => UploadedMarker): void {
    const object = this.#objects.get(token);
    if (object !== undefined) {
      this.#objects.delete(token);
      marker().moveTo(object.txnId, object.markerVersion);
    }
  }

  /** False: it is not known any more. */
  remove(token: number): boolean {
    return this.#objects.delete(token);
  }

  clear(): void {
    this.#objects.clear();
  }

  requireNone(): void {
    assert(this.#objects.size === 0, 'the object before is not acknowledged yet');
  }
}
