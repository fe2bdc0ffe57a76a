import { SyncError } from '../../../protocol/errors.ts';
import type { RefusedDbis } from '../changes/refused-dbis.ts';
import type { Detection } from '../local-database.ts';
import { findUnnamedData, type DataFile, type Meta } from '../pages/data-file.ts';
import { SYNC_STATE_DBI } from '../state-value.ts';
import type { SyncState } from '../sync-state.ts';
import { requireNamedData, unnamedText } from '../unnamed-data.ts';
import type { Basis } from './basis.ts';

/** DBIs that are taken in again, see `SyncState.refused`. */
export type Accepted = SyncState['refused'];

/** Keeps a session from working on what it does not understand: DBIs out of order, and data in the main database. */
export class OrderWatch {
  readonly #known: Basis;
  readonly #file: () => DataFile;
  readonly #onAccepted: (accepted: Accepted) => void;
  /** Since when a DBI is not in step that was taken in again; undefined: there is none, or a detection has told of it. */
  leftOutSinceNs: bigint | undefined;
  /** Nobody has read all DBIs yet, so it is not known which are out of order. */
  #isUnchecked = false;

  /** `onAccepted`: objects were merged without entries for these DBIs, and their changes were not sent. */
  constructor(known: Basis, file: () => DataFile, onAccepted: (accepted: Accepted) => void) {
    this.#known = known;
    this.#file = file;
    this.#onAccepted = onAccepted;
  }

  get refused(): RefusedDbis {
    return this.#known.schema.refused;
  }

  get detection(): Pick<Detection, 'refusedDbis' | 'unnamedData' | 'leftOutSinceNs'> {
    const { list } = this.refused;
    const unnamed = findUnnamedData(this.#file(), this.#known.meta);
    return {
      refusedDbis: this.#known.state.isOrdered
        ? list
        : [...list, { name: SYNC_STATE_DBI, what: 'keys', cause: 'damage' }],
      unnamedData: unnamed && unnamedText(unnamed),
      leftOutSinceNs: this.leftOutSinceNs,
    };
  }

  /** A DBI of registers that was read is not in the order of its flags. */
  suspect(dbiName: string): void {
    this.#known.suspect(dbiName);
  }

  /** The start has read no entries. */
  noteUnchecked(): void {
    this.#isUnchecked = true;
  }

  /** All DBIs were read, and those out of order are known. */
  noteChecked(): void {
    this.#isUnchecked = false;
  }

  /** To be called before anything is written into DBIs. */
  requireChecked(): void {
    if (this.#isUnchecked) {
      this.#known.checkOrder();
      this.#isUnchecked = false;
      this.review();
    }
  }

  /** Finds out which DBIs are out of order and why, and takes in again those that no longer are. */
  review(): void {
    const accepted = this.refused.review(this.#file(), this.#known.meta);
    if (accepted.size === 0) {
      return;
    }
    try {
      this.#onAccepted(accepted);
    } catch (error) {
      this.refused.takeBack(accepted);
      throw error;
    }
  }

  /** Moves the basis inside a write transaction. What is written in it was decided on before: it must still hold. */
  advanceInside(advance: () => void): void {
    const { version } = this.refused;
    advance();
    if (this.refused.version !== version) {
      throw new SyncError('TRANSACTION_FAILED', 'a DBI has just got out of order', {
        retryable: true,
      });
    }
  }

  /** Nothing is written into an LMDB that is not understood. Errors: ENVIRONMENT_UNREADABLE, retryable. */
  requireWritable(committed: Meta): void {
    const file = this.#file();
    requireNamedData(file, committed, { isOpen: true });
    if (this.#known.state.isOrdered) {
      return;
    }
    throw new SyncError(
      'ENVIRONMENT_UNREADABLE',
      `keys of ${SYNC_STATE_DBI} in ${file.path} are out of order`,
      {
        hint: 'Stop the application and the agent, move the LMDB away, and start: it is filled from the bucket.',
        retryable: true,
      },
    );
  }
}
