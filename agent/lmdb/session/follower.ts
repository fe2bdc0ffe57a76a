import { errorText, SyncError } from '../../../protocol/errors.ts';
import { replaced } from '../file-watch.ts';
import type { Meta } from '../pages/data-file.ts';
import { PinnedPagesReused, type Basis } from './basis.ts';
import type { MovingPin } from './pin.ts';

type FollowerParts = {
  readonly path: string;
  readonly pin: MovingPin;
  readonly basis: Basis;
  /** Something was merged, says the vector. */
  readonly hasVector: () => boolean;
  /** See `hasPageOrder`: as this file had it before. */
  readonly hadPageOrder: () => boolean;
  /** The marker may be above what was sent of this state: only the stored one is true. */
  readonly onMarkerDoubted: () => void;
  /** A scan has found changes that may have replaced something newer. */
  readonly onLow: () => void;
  /** A scan takes the place of a diff, for this reason. */
  readonly onRescan: (reason: string) => void;
};

/**
 * Moves pin and basis to the newest state: by a page diff, and where that fails twice, by a scan from a new pin. A pin
 * that stayed would keep its pages from being used again, until the application's map is full.
 */
export class Follower {
  readonly #parts: FollowerParts;
  /** A scan from here is due: no diff leads from the basis to what is pinned. */
  #scanFrom: number | undefined;

  constructor(parts: FollowerParts) {
    this.#parts = parts;
  }

  /** Errors: ENVIRONMENT_REPLACED, TRANSACTION_FAILED, CONFIG_INVALID, ENVIRONMENT_UNREADABLE. */
  async move(): Promise<void> {
    const { basis } = this.#parts;
    const since = this.#scanFrom ?? basis.meta.txnId;
    const jumpedTo = await this.#pinNext();
    if (jumpedTo !== undefined) {
      this.#scanTo(jumpedTo, this.#scanFrom ?? since);
    }
  }

  /** Pins nothing until the next move, which scans. */
  letGo(): void {
    const { pin, basis } = this.#parts;
    this.#scanFrom ??= basis.meta.txnId;
    pin.release();
  }

  /** The newest state, where nothing has followed to it. */
  async #pinNext(): Promise<Meta | undefined> {
    const { pin, onRescan } = this.#parts;
    if (this.#scanFrom !== undefined) {
      return pin.move({ follows: false });
    }
    for (let failures = 0; ; failures += 1) {
      try {
        return await pin.move({ follows: true });
      } catch (error) {
        if (error instanceof PinnedPagesReused) {
          return this.#pinReused(error);
        }
        if (!isDiffFailure(error)) {
          throw error;
        }
        if (failures > 0) {
          onRescan(errorText(error));
          return pin.move({ follows: false });
        }
      }
    }
  }

  /** Either the file was written over by another one, or somebody takes no notice of read transactions. */
  async #pinReused(error: PinnedPagesReused): Promise<Meta | undefined> {
    const { path, pin, basis, hadPageOrder, onMarkerDoubted, onRescan } = this.#parts;
    const meta = await pin.move({ follows: false });
    this.#scanFrom = basis.meta.txnId;
    if (meta !== undefined && !basis.continuesTo(meta, hadPageOrder())) {
      throw replaced(path, 'was written over');
    }
    onMarkerDoubted();
    this.#scanFrom = basis.state.uploadedTxn ?? 0;
    onRescan(errorText(error));
    return meta;
  }

  /** What the application has changed since then is found by its headers, or by comparing with our registers. */
  #scanTo(meta: Meta, since: number): void {
    const { basis, hasVector, onLow } = this.#parts;
    if (!basis.jumpTo(meta) && this.#scanFrom === undefined) {
      return;
    }
    this.#scanFrom = since;
    basis.requireSyncable();
    const { low } = basis.scanSince(since);
    this.#scanFrom = undefined;
    if (low && hasVector()) {
      onLow();
    }
  }
}

/** What a repetition from the same pin does not heal, nor anybody but us can. */
function isDiffFailure(error: unknown): boolean {
  return error instanceof SyncError && error.code === 'ENVIRONMENT_UNREADABLE';
}
