import { listDbis, type DataFile, type DbRecord, type Meta } from '../pages/data-file.ts';
import { StoredRegisters } from './stored-registers.ts';

/** Two states, where no diff between them has been made. */
export type Unseen = { readonly file: DataFile; readonly from: Meta; readonly to: Meta };

/**
 * Finds for single keys what a diff between two states would find for all: what a local write replaced by something
 * that loses against it, or removed. Costs a search in both states per key, cheapest where keys ascend.
 */
export class UnseenChanges {
  readonly #from: StoredRegisters;
  readonly #to: StoredRegisters;
  readonly #dbis: ReadonlyMap<string, DbRecord>;

  constructor({ file, from, to }: Unseen) {
    this.#dbis = listDbis(file, from);
    this.#from = new StoredRegisters(file, this.#dbis);
    this.#to = new StoredRegisters(file, listDbis(file, to));
  }

  /** The flags that a DBI had in the older state; undefined: there was none. */
  flagsBefore(dbiName: string): number | undefined {
    return this.#dbis.get(dbiName)?.flags;
  }

  /** The value that is to be put back; undefined: none. */
  lost(dbiName: string, key: Buffer): Buffer | undefined {
    const value = this.#from.find(dbiName, key);
    if (value === undefined) {
      return undefined;
    }
    return this.#to.compare({ dbiName, key, value }) === 'wins' ? value : undefined;
  }
}
