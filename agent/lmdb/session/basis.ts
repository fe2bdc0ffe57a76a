import { SyncError } from '../../../protocol/errors.ts';
import type { Clock } from '../../../protocol/time.ts';
import type { LocalChanges } from '../changes/local-changes.ts';
import type { DatabaseOptions } from '../local-database.ts';
import { LocalSchema } from '../schema/local-schema.ts';
import { OwnWrites } from '../changes/own-writes.ts';
import { replaced } from '../file-watch.ts';
import { hasPageOrder } from '../page-order.ts';
import type { DataFile, Meta } from '../pages/data-file.ts';
import { collectPages, diffPages, isDbiOrdered } from '../pages/diff.ts';
import { RootPage } from './root-page.ts';
import { PageSet } from '../pages/set.ts';
import { scanLocalChanges, type ScanResult } from '../changes/scan.ts';
import type { SyncedDbis } from '../changes/synced-dbis.ts';
import { isSameState, SyncStateReader, type SyncState } from '../sync-state.ts';
import type { Exchanged } from '../sync-state-text.ts';
import { TxnRanges } from '../txn-ranges.ts';

export type BasisParts = {
  readonly options: DatabaseOptions;
  readonly clock: Clock;
  /** The data file as it is open now. */
  readonly file: () => DataFile;
  readonly meta: Meta;
  /** Takes what the diffs find. */
  readonly changes: LocalChanges;
  /** The uploaded marker as this run knows it. */
  readonly uploadedTxn: () => number | undefined;
};

/** Pages of the known state were written over, though they are pinned: no diff from it is possible. */
export class PinnedPagesReused extends SyncError {
  constructor(path: string) {
    super(
      'TRANSACTION_FAILED',
      `pages of ${path} under an open read transaction were written over: a program writes without LMDB's locks (MDB_NOLOCK)`,
      { hint: 'Let that program use locks, or give it an LMDB of its own.', retryable: true },
    );
  }
}

/**
 * The state up to which changes are known, with what belongs to exactly this state: its page set, its `_sync_state`, and
 * what our last transactions wrote. It moves by page diffs, or is set anew by a scan. Its pages must stay pinned.
 */
export class Basis {
  readonly own = new OwnWrites();
  readonly schema: LocalSchema;
  readonly #parts: BasisParts;
  readonly #states = new SyncStateReader();
  #meta: Meta;
  readonly #rootPage = new RootPage();
  #state: SyncState;
  #pages = new PageSet();
  #dataTxnId: number;

  constructor(parts: BasisParts) {
    this.#parts = parts;
    this.#meta = parts.meta;
    this.#rootPage.prepare(parts.file(), parts.meta);
    this.#rootPage.keepPrepared();
    this.#dataTxnId = parts.meta.txnId;
    this.#state = this.#states.read(parts.file(), parts.meta);
    const { options, changes } = parts;
    this.schema = new LocalSchema({ options, state: this.#state, changes });
  }

  get meta(): Meta {
    return this.#meta;
  }

  /** `_sync_state` as of this state. */
  get state(): SyncState {
    return this.#state;
  }

  /** The last transaction that changed a DBI whose name does not begin with `_sync`. */
  get dataTxnId(): number {
    return this.#dataTxnId;
  }

  /** The DBIs that hold the registers of a state. */
  synced(meta: Meta): SyncedDbis {
    return this.schema.synced(this.#parts.file(), meta);
  }

  futureFromNs(): bigint {
    const { clock, options } = this.#parts;
    return clock.nowNs() + BigInt(Math.round(options.maxClockSkewMs * 1e6));
  }

  /** `_sync_state` of a newer state, whose pages are pinned, too. */
  stateAt(meta: Meta): SyncState {
    return meta.txnId === this.#meta.txnId
      ? this.#state
      : this.#states.read(this.#parts.file(), meta);
  }

  /**
   * Moves on by a page diff, as a whole or not at all: if it throws, nothing but the found regressions has changed. Errors: PinnedPagesReused,
   * ENVIRONMENT_REPLACED, and those of the diff. `putBack`: writes back what is known to have regressed; without it a diff
   * that finds more than fits ends with TooManyRegressions at once.
   */
  advance(to: Meta, putBack?: () => void): void {
    if (this.#isAt(to)) {
      return;
    }
    const file = this.#parts.file();
    const state = this.#states.read(file, to);
    const own = this.own.leftExactly(to);
    if (own === undefined) {
      if (!this.#rootPage.isKept(file)) {
        throw new PinnedPagesReused(file.path);
      }
      this.#rootPage.prepare(file, to);
      const { own: writes } = this;
      const futureFromNs = this.futureFromNs();
      const between = {
        file,
        from: this.#meta,
        to,
        pages: this.#pages,
        state,
        own: writes,
        futureFromNs,
        exchanged: this.#exchanged,
        putBack,
      };
      if (this.schema.findChanges(between)) {
        this.#dataTxnId = to.txnId;
      }
    } else {
      // Nobody else has committed: what differs is what we wrote, and only the pages must be followed.
      this.#rootPage.prepare(file, to);
      diffPages(file, this.#meta, to, this.#pages, undefined);
      if (own.written.dataChanged) {
        this.#dataTxnId = to.txnId;
      }
    }
    // The page set has moved: from here on nothing reads, so that nothing throws.
    this.#rootPage.keepPrepared();
    this.#meta = to;
    this.#state = state;
    this.own.forgetOverlay();
  }

  /**
   * True if this is the known state; false: it is a later one. Errors: ENVIRONMENT_REPLACED for one that this LMDB cannot
   * come to from the known one.
   */
  #isAt(to: Meta): boolean {
    const { path } = this.#parts.file();
    if (to.txnId < this.#meta.txnId) {
      throw replaced(path, `went from transaction ${this.#meta.txnId} back to ${to.txnId}`);
    }
    if (to.txnId > this.#meta.txnId) {
      return false;
    }
    const { mainDb, freeDb, lastPage } = this.#meta;
    const isSame =
      to.mainDb.root === mainDb.root && to.freeDb.root === freeDb.root && to.lastPage === lastPage;
    if (!isSame) {
      throw replaced(path, `has another content at transaction ${to.txnId} than before`);
    }
    return true;
  }

  /** False if `_sync_state` at `meta` is another one than it was: nobody but us writes it, so that file is another one. */
  continuesTo(meta: Meta, hadPageOrder: boolean): boolean {
    const file = this.#parts.file();
    if (hadPageOrder && !hasPageOrder(file, meta)) {
      return false;
    }
    if (this.own.isAhead(this.#meta)) {
      return true;
    }
    return isSameState(new SyncStateReader().read(file, meta), this.#state);
  }

  /**
   * A pinned state that no diff leads to. False: it is the known one, whose page set is still right. Errors:
   * ENVIRONMENT_REPLACED.
   */
  jumpTo(meta: Meta): boolean {
    const moved = !this.#isAt(meta);
    this.#states.reset();
    if (!moved) {
      this.#meta = meta;
      return false;
    }
    const file = this.#parts.file();
    this.#rootPage.prepare(file, meta);
    this.#state = this.#states.read(file, meta);
    this.#rootPage.keepPrepared();
    this.#meta = meta;
    this.own.forgetOverlay();
    this.schema.shadow?.behind.overflow();
    this.#dataTxnId = meta.txnId;
    return true;
  }

  /** Errors: CONFIG_INVALID where the application has what only another configuration can sync. */
  requireSyncable(): void {
    this.schema.shadow?.requireSyncable(this.#parts.file(), this.#meta);
  }

  /** Finds local changes without a diff; `low`: one of them may have replaced something newer. */
  scanSince(sinceTxn: number, options: { ignoresMerged?: boolean } = {}): ScanResult {
    const { file, changes } = this.#parts;
    const dbis = this.synced(this.#meta);
    const { shadow, refused } = this.schema;
    // One walk for both: reading every page twice would double what a start costs.
    const pages = new PageSet();
    const scan = scanLocalChanges(file(), this.#meta, {
      dbis,
      pages,
      sinceTxn,
      merged: options.ignoresMerged === true ? new TxnRanges() : this.#state.merged,
      maxTsNs: changes.maxTsNs,
      pendingBytesMax: this.#parts.options.pendingBytesMax,
      invalid: changes.invalid,
      onDisorder: (dbiName) => {
        // What is not synced in any case may have what order it wants.
        if (shadow !== undefined || dbis.has(dbiName) || refused.has(dbiName)) {
          this.suspect(dbiName);
        }
      },
      leftOut: changes.leftOut,
    });
    this.#pages = pages;
    changes.addScan(scan);
    return scan;
  }

  get #exchanged(): Exchanged {
    return { uploadedTxn: this.#parts.uploadedTxn(), syncedNs: this.#state.lastSyncNs };
  }

  /** Leaves a DBI alone that was read and is not in the order of its flags. */
  suspect(dbiName: string): void {
    this.schema.suspect(dbiName, this.#exchanged);
  }

  /** Reads all DBIs that are synced, and has those left alone that are not in the order of their flags. */
  checkOrder(): void {
    const file = this.#parts.file();
    for (const [name, { record }] of this.synced(this.#meta)) {
      if (!isDbiOrdered(file, record)) {
        this.suspect(name);
      }
    }
  }

  /** Where everything is to be sent anyway: only the page set, from the branches alone. */
  skipScan(): void {
    this.#pages = collectPages(this.#parts.file(), this.#meta, { leavesUnread: true });
  }
}
