import type { Clock } from '../../../protocol/time.ts';
import type { LocalChanges } from '../changes/local-changes.ts';
import type { DatabaseOptions } from '../local-database.ts';
import { LocalSchema } from '../schema/local-schema.ts';
import { OwnWrites } from '../changes/own-writes.ts';
import type { DataFile, Meta } from '../pages/data-file.ts';
import { collectPages, diffPages, isDbiOrdered } from '../pages/diff.ts';
import { PageSet } from '../pages/set.ts';
import { scanLocalChanges, type ScanResult } from '../changes/scan.ts';
import type { SyncedDbis } from '../changes/synced-dbis.ts';
import { SyncStateReader, type SyncState } from '../sync-state.ts';
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
  #state: SyncState;
  #pages = new PageSet();
  #dataTxnId: number;

  constructor(parts: BasisParts) {
    this.#parts = parts;
    this.#meta = parts.meta;
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

  /** Moves on by a page diff. If it throws, nothing but the found regressions has changed. */
  advance(to: Meta): void {
    if (to.txnId === this.#meta.txnId) {
      return;
    }
    const file = this.#parts.file();
    const state = this.#states.read(file, to);
    const own = this.own.leftExactly(to);
    if (own === undefined) {
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
        uploadedTxn: this.#parts.uploadedTxn(),
      };
      if (this.schema.findChanges(between)) {
        this.#dataTxnId = to.txnId;
      }
    } else {
      // Nobody else has committed: what differs is what we wrote, and only the pages must be followed.
      diffPages(file, this.#meta, to, this.#pages, undefined);
      if (own.written.dataChanged) {
        this.#dataTxnId = to.txnId;
      }
    }
    this.#meta = to;
    this.#state = state;
    this.own.forgetOverlay();
  }

  /** A pinned state that no diff leads to: the file was opened anew. True if it is another one than before. */
  jumpTo(meta: Meta): boolean {
    const moved = meta.txnId !== this.#meta.txnId;
    this.#states.reset();
    this.#meta = meta;
    if (!moved) {
      return false;
    }
    this.#state = this.#states.read(this.#parts.file(), meta);
    this.own.forgetOverlay();
    this.schema.shadow?.behind.overflow();
    this.#dataTxnId = meta.txnId;
    return true;
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

  /** Leaves a DBI alone that was read and is not in the order of its flags. */
  suspect(dbiName: string): void {
    this.schema.suspect(dbiName, this.#parts.uploadedTxn());
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
