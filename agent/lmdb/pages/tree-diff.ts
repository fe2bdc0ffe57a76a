import type { KeyOrder } from '../../../protocol/key-order.ts';
import { Change } from './change.ts';
import type { DiffChange } from './change.ts';
import { openDuplicates } from './duplicates.ts';
import { F_DUPDATA } from './layout.ts';
import type { PageSource } from './layout.ts';
import { joinWalks } from './join.ts';
import { TreeWalker } from './walker.ts';
import type { PageFilter } from './walker.ts';

export type TreeDiffOptions = {
  readonly oldFilter: PageFilter;
  readonly newFilter: PageFilter;
  readonly oldHasDuplicates: boolean;
  readonly newHasDuplicates: boolean;
  /** The order of keys on both sides, undefined: none that both share. */
  readonly keyOrder: KeyOrder | undefined;
  readonly duplicateOrder: KeyOrder | undefined;
  readonly sink: { onChange(change: DiffChange): void };
};

/** Pairs the entries that the filters leave of two trees, and reports those that differ. */
export class TreeDiff {
  readonly #source: PageSource;
  readonly #options: TreeDiffOptions;
  readonly #change: Change;
  readonly #oldKeys: TreeWalker;
  readonly #newKeys: TreeWalker;
  readonly #oldValues: TreeWalker;
  readonly #newValues: TreeWalker;

  constructor(source: PageSource, options: TreeDiffOptions) {
    this.#source = source;
    this.#options = options;
    this.#change = new Change(source);
    this.#oldKeys = new TreeWalker(source, { filter: options.oldFilter });
    this.#newKeys = new TreeWalker(source, { filter: options.newFilter });
    this.#oldValues = new TreeWalker(source, { filter: options.oldFilter });
    this.#newValues = new TreeWalker(source, { filter: options.newFilter });
  }

  /** Errors: ENVIRONMENT_UNREADABLE, and what the sink throws. */
  run(oldRoot: number, newRoot: number): void {
    const { keyOrder, oldHasDuplicates, newHasDuplicates } = this.#options;
    this.#oldKeys.openTree(oldRoot);
    this.#newKeys.openTree(newRoot);
    if (oldHasDuplicates !== newHasDuplicates) {
      // Dropped and created again as another kind of DBI: an entry of the one is no entry of the other.
      while (this.#oldKeys.next()) {
        this.#reportOld();
      }
      while (this.#newKeys.next()) {
        this.#reportNew();
      }
      return;
    }
    joinWalks(this.#oldKeys, this.#newKeys, {
      comparator: keyOrder,
      handler: {
        onOld: () => this.#reportOld(),
        onNew: () => this.#reportNew(),
        onBoth: () => this.#reportBoth(),
      },
    });
  }

  /** The key is gone. */
  #reportOld(): void {
    const { node } = this.#oldKeys;
    this.#change.showKey(node);
    if (!this.#options.oldHasDuplicates || (node.nodeFlags & F_DUPDATA) === 0) {
      this.#change.oldValue.showData(node);
      this.#emit(true, false);
      return;
    }
    openDuplicates(this.#oldValues, node, this.#source.pageCount);
    while (this.#oldValues.next()) {
      this.#removedValue();
    }
  }

  /** The key is new. */
  #reportNew(): void {
    const { node } = this.#newKeys;
    this.#change.showKey(node);
    if (!this.#options.newHasDuplicates || (node.nodeFlags & F_DUPDATA) === 0) {
      this.#change.newValue.showData(node);
      this.#emit(false, true);
      return;
    }
    openDuplicates(this.#newValues, node, this.#source.pageCount);
    while (this.#newValues.next()) {
      this.#addedValue();
    }
  }

  #reportBoth(): void {
    const oldNode = this.#oldKeys.node;
    const newNode = this.#newKeys.node;
    const change = this.#change;
    change.showKey(newNode);
    if (this.#options.newHasDuplicates) {
      this.#reportValues();
      return;
    }
    change.oldValue.showData(oldNode);
    change.newValue.showData(newNode);
    if (!change.areValuesEqual) {
      this.#emit(true, true);
    }
  }

  /** Both sides have this key of a DUPSORT DBI: pairs their values. */
  #reportValues(): void {
    openValues(this.#oldValues, this.#oldKeys, this.#source.pageCount);
    openValues(this.#newValues, this.#newKeys, this.#source.pageCount);
    joinWalks(this.#oldValues, this.#newValues, {
      comparator: this.#options.duplicateOrder,
      handler: {
        onOld: () => this.#removedValue(),
        onNew: () => this.#addedValue(),
        onBoth: () => {},
      },
    });
  }

  #removedValue(): void {
    this.#change.oldValue.showKey(this.#oldValues.node);
    this.#emit(true, false);
  }

  #addedValue(): void {
    this.#change.newValue.showKey(this.#newValues.node);
    this.#emit(false, true);
  }

  #emit(hasOld: boolean, hasNew: boolean): void {
    this.#change.hasOld = hasOld;
    this.#change.hasNew = hasNew;
    this.#options.sink.onChange(this.#change);
  }
}

/** Opens a walk of the values of a key, be they one or many. */
function openValues(values: TreeWalker, keys: TreeWalker, pageCount: number): void {
  if ((keys.node.nodeFlags & F_DUPDATA) === 0) {
    values.openValue(keys.node);
  } else {
    openDuplicates(values, keys.node, pageCount);
  }
}
