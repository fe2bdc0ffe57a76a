import type { ValueMap } from './change-classifier.ts';
import type { WriteTxn } from './environment.ts';
import type { DataFile, Meta } from './page.ts';
import { findOverwritten } from './put-back.ts';

/** One of our transactions, once it is committed. */
export type OwnWrite = {
  readonly txnId: number;
  /** What it wrote. */
  readonly written: ValueMap;
  /** Nothing local was put back in it. */
  readonly onlyMerged: boolean;
  readonly quietSince: number;
};

/** What is remembered of our own last transactions. */
export class OwnWrites {
  /** The last one, until a diff has passed it: what it wrote is the old side of that diff. */
  #last: OwnWrite | undefined;
  /** Our last transactions in a row: nobody else wrote in between, and none of them holds a local entry. */
  #quiet: { readonly first: number; readonly last: number } | undefined;

  get overlay(): ValueMap | undefined {
    return this.#last?.written;
  }

  /** The first of our transactions in a row up to `txn`. */
  quietSince({ txnId, committed }: WriteTxn, onlyMerged: boolean): number {
    const before = this.#quiet;
    return onlyMerged && before?.last === committed.txnId ? before.first : txnId;
  }

  add(write: OwnWrite): void {
    this.#last = write;
    this.#quiet = write.onlyMerged ? { first: write.quietSince, last: write.txnId } : undefined;
  }

  /** What the last one wrote and another process has removed or replaced by a loser since, as of `to`. */
  findOverwritten(file: DataFile, to: Meta): ValueMap | undefined {
    const last = this.#last;
    if (last === undefined || last.txnId === to.txnId) return undefined;
    return findOverwritten(file, to, last.written);
  }

  /** The page diff has passed it, or can no longer be made. */
  forgetOverlay(): void {
    this.#last = undefined;
  }
}
