import { ValueMap } from './value-map.ts';
import type { WriteTxn } from '../environment.ts';
import type { PackedRow } from '../packed-entries.ts';
import { PackedIndex, type PackedPart } from '../packed-index.ts';
import type { DataFile, Meta } from '../pages/data-file.ts';
import { findOverwritten } from './put-back.ts';

/** In place of a value: the key was removed. No stored value is empty. */
export const REMOVED = Buffer.alloc(0);

/**
 * What one transaction of ours wrote, in the order of writing. Rarely is anything looked up in it: only when another
 * process committed before we looked again. So the maps are made then (they cost half of the time of a large merge).
 */
export class WrittenValues {
  readonly #writes: { dbiName: string; key: Buffer; value: Buffer }[] = [];
  readonly #packed: PackedPart[] = [];
  #map: ValueMap | undefined;
  #index: PackedIndex | undefined;
  /** A DBI that is not private was created or written to. */
  dataChanged = false;

  add(dbiName: string, key: Buffer, value: Buffer): void {
    this.#writes.push({ dbiName, key, value });
    this.dataChanged = true;
  }

  /** Entries of a row, but those that are left out. Of a key that was also added singly before these count. */
  addPacked(row: PackedRow, start: number, end: number): void {
    const last = this.#packed.at(-1);
    if (last?.row === row && last.end === start) {
      last.end = end;
    } else {
      this.#packed.push({ row, start, end });
    }
    this.dataChanged = true;
  }

  /** The value that it wrote last under this key; {@link REMOVED} if it removed it. */
  get(dbiName: string, key: string): Buffer | undefined {
    return this.#packedIndex.get(dbiName, key) ?? this.#singly.get(dbiName, key);
  }

  /** Each key once, with the value that it wrote last; views. */
  *entries(): IterableIterator<{ dbiName: string; key: Buffer; value: Buffer }> {
    for (const { dbiName, key, value } of this.#singly.entries()) {
      if (this.#packedIndex.get(dbiName, key) === undefined) {
        yield { dbiName, key: Buffer.from(key, 'latin1'), value };
      }
    }
    for (const { row, start, end } of this.#packed) {
      for (let at = start; at < end; at = row.next(at)) {
        if (!row.isLeftOut(at)) {
          yield { dbiName: row.dbiName, key: row.key(at), value: row.value(at) };
        }
      }
    }
  }

  get #packedIndex(): PackedIndex {
    this.#index ??= new PackedIndex(this.#packed);
    return this.#index;
  }

  get #singly(): ValueMap {
    if (this.#map === undefined) {
      this.#map = new ValueMap();
      for (const { dbiName, key, value } of this.#writes) {
        this.#map.set(dbiName, key.toString('latin1'), value);
      }
    }
    return this.#map;
  }
}

/** One of our transactions, once it is committed. */
export type OwnWrite = {
  readonly txnId: number;
  /** What it wrote. */
  readonly written: WrittenValues;
  /** Nothing local was put back in it. */
  readonly onlyMerged: boolean;
  readonly quietSince: number;
  /** The state that it started from was the basis: nothing of the application's was unseen. */
  readonly isExact: boolean;
};

/** What is remembered of our own last transactions. */
export class OwnWrites {
  /** The last one, until a diff has passed it: what it wrote is the old side of that diff. */
  #last: OwnWrite | undefined;
  /** Our last transactions in a row: nobody else wrote in between, and none of them holds a local entry. */
  #quiet: { readonly first: number; readonly last: number } | undefined;

  get overlay(): WrittenValues | undefined {
    return this.#last?.written;
  }

  /** A diff must pass the last one before there is another: it is the old side of that diff. */
  get isPassed(): boolean {
    return this.#last === undefined;
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

  /** Our last transaction, if `to` is the state that it left: then nothing differs from before but what it wrote. */
  leftExactly(to: Meta): OwnWrite | undefined {
    return this.#last?.isExact === true && this.#last.txnId === to.txnId ? this.#last : undefined;
  }

  /** True if one of ours was committed after this state. */
  isAhead({ txnId }: Meta): boolean {
    return (this.#last?.txnId ?? 0) > txnId;
  }

  /** What the last one wrote and another process has removed or replaced by a loser since, as of `to`. */
  findOverwritten(file: DataFile, to: Meta): ValueMap | undefined {
    const last = this.#last;
    if (last === undefined || last.txnId === to.txnId) {
      return undefined;
    }
    return findOverwritten(file, to, last.written);
  }

  /** The page diff has passed it, or can no longer be made. */
  forgetOverlay(): void {
    this.#last = undefined;
  }
}
