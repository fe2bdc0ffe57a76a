import { SyncError } from '../../../protocol/errors.ts';
import { keyOrderOf } from '../../../protocol/key-order.ts';
import { dupComparator } from './comparator.ts';
import type { DataFile, DbRecord, Meta } from './data-file.ts';
import { readDbi } from './data-file.ts';
import { TreeCollector, addOnce, collectByBranches, type TreeOrder } from './collect.ts';
import type { DiffChange } from './change.ts';
import { EMPTY_ROOT, MDB_DUPSORT, damaged } from './layout.ts';
import { PageSet } from './set.ts';
import { TreeDiff } from './tree-diff.ts';
import { TreeWalker } from './walker.ts';
import type { PageFilter } from './walker.ts';

export type { DiffChange } from './change.ts';

/** Takes what a diff finds; what it throws ends the diff. */
export interface DiffSink {
  /**
   * Once, before anything else: the DBIs of which pages that differ, old or new ones, are not in the order of their
   * flags, with these flags. Only what changed is looked at, and that it fits in between its neighbours.
   */
  onDisorder?(dbis: ReadonlyMap<string, number>): void;
  /** False: {@link onChange} is not called for this DBI. Asked before {@link onDbi}. */
  accepts?(dbiName: string): boolean;
  /**
   * Before the changes of each DBI whose root or flags differ, also where no change follows. `oldDb` undefined:
   * created; `newDb` undefined: dropped. One that was dropped and created again shows as one that changed.
   */
  onDbi(name: string, oldDb: DbRecord | undefined, newDb: DbRecord | undefined): void;
  /** In key order, but for DBIs that are in no order we know: those are sorted by the application's own function. */
  onChange(change: DiffChange): void;
  /** After everything else. What it throws, too, leaves the page set as it was. */
  onEnd?(): void;
}

type DbiPair = { readonly oldDb: DbRecord | undefined; readonly newDb: DbRecord | undefined };

/**
 * Finds every entry that differs between two committed states of one file; `oldMeta` has been pinned by a read
 * transaction ever since it was read, `newMeta` is pinned now. `pages` is the page set of the old state (from
 * {@link collectPages} or the diff before) and becomes that of the new one.
 *
 * LMDB copies what it writes, and a page of a pinned tree is never used again: a page number in both trees is an
 * unchanged page. So the new tree is walked down to pages of the set (the frontier), the old one down to the
 * frontier, and the leaves left over hold all that differs. They are walked twice and not kept: first for their page
 * numbers and order, then to pair their entries. Memory follows neither the database nor the change, except for
 * page numbers. Cost: about four page reads for each changed page.
 *
 * Without a sink only `pages` is brought up to date: for a caller who wrote the difference itself.
 *
 * If anything throws, sink included, `pages` is as before, and the same diff may be done again.
 * Errors: ENVIRONMENT_UNREADABLE, also when `pages` or the pin turn out not to belong to `oldMeta`.
 */
export function diffPages(
  file: DataFile,
  oldMeta: Meta,
  newMeta: Meta,
  pages: PageSet,
  sink: DiffSink | undefined,
): { pagesRead: number } {
  const readBefore = file.pagesRead;
  const added = new PageSet();
  const removed = new PageSet();
  const sides = { file, pages, added, removed };
  const dbis = diffMain(sides, oldMeta.mainDb.root, newMeta.mainDb.root);
  const trees: ChangedTree[] = [];
  for (const [name, { oldDb, newDb }] of dbis) {
    if (oldDb?.root !== newDb?.root || oldDb?.flags !== newDb?.flags) {
      trees.push(collectTree(sides, { name, oldDb, newDb }, sink !== undefined));
    }
  }
  if (sink !== undefined) {
    reportTrees(sides, trees, sink);
    sink.onEnd?.();
  }
  // Applied only now: nothing after this line throws.
  pages.deleteAll(removed);
  pages.addAll(added);
  return { pagesRead: file.pagesRead - readBefore };
}

/**
 * The numbers of all branch and leaf pages of a committed state: those of the main database, of all DBIs, and of
 * trees of duplicates. Overflow pages are not in it: their numbers stand in the leaves. Reads every page once.
 * Errors: ENVIRONMENT_UNREADABLE.
 */
export function collectPages(
  file: DataFile,
  meta: Meta,
  options: {
    /** Added to, instead of a new set. */
    readonly pages?: PageSet;
    /** DBIs whose pages somebody else adds, who walks them anyway. */
    readonly skips?: (dbiName: string) => boolean;
    /** Leaves are not read, and so not checked, either: their numbers stand in their parents. */
    readonly leavesUnread?: boolean;
    /** Called for each DBI whose entries are not in the order of its flags. */
    readonly onDisorder?: (dbiName: string) => void;
  } = {},
): PageSet {
  const { pages = new PageSet(), skips, leavesUnread = false, onDisorder } = options;
  const filter = addOnce(pages);
  const collector = new TreeCollector(file, filter);
  const main = new TreeWalker(file, { filter });
  main.openTree(meta.mainDb.root);
  while (main.next()) {
    const dbi = readDbi(main, file.pageCount);
    if (dbi === undefined || skips?.(dbi.name) === true) {
      continue;
    }
    const hasDuplicates = (dbi.record.flags & MDB_DUPSORT) !== 0;
    if (onDisorder !== undefined) {
      if (!collector.collect(dbi.record.root, orderOf(dbi.record.flags))) {
        onDisorder(dbi.name);
      }
    } else if (leavesUnread && !hasDuplicates) {
      collectByBranches(file, dbi.record, filter);
    } else {
      collector.collectPages(dbi.record.root, hasDuplicates);
    }
  }
  return pages;
}

/** Reads all of a DBI, up to the first page that is not in the order of its flags; false: there is one. Errors: ENVIRONMENT_UNREADABLE. */
export function isDbiOrdered(file: DataFile, { root, flags }: DbRecord): boolean {
  const collector = new TreeCollector(file, addOnce(new PageSet()));
  return collector.collect(root, orderOf(flags), { stops: true });
}

type Sides = {
  readonly file: DataFile;
  /** The old tree's pages, not yet touched. */
  readonly pages: PageSet;
  readonly added: PageSet;
  readonly removed: PageSet;
};

/** The filters of one tree's walks, and what they met. */
class Frontier {
  readonly #sides: Sides;
  readonly #pages = new PageSet();
  #seenInOld = 0;

  constructor(sides: Sides) {
    this.#sides = sides;
  }

  /** For the walk of the new tree, which comes first: stops at pages of the old one and remembers them. */
  readonly collectNew: PageFilter = (pageNumber) => {
    if (!this.#sides.pages.has(pageNumber)) {
      return addOnce(this.#sides.added)(pageNumber);
    }
    addOnce(this.#pages)(pageNumber);
    return false;
  };

  /** For the walk of the old tree: stops at those. */
  readonly collectOld: PageFilter = (pageNumber) => {
    if (this.#pages.has(pageNumber)) {
      this.#seenInOld += 1;
      return false;
    }
    if (!this.#sides.pages.has(pageNumber)) {
      throw outOfStep(`page ${pageNumber} of the old tree is not in the page set`);
    }
    return addOnce(this.#sides.removed)(pageNumber);
  };

  readonly walkNew: PageFilter = (pageNumber) => !this.#sides.pages.has(pageNumber);

  readonly walkOld: PageFilter = (pageNumber) => !this.#pages.has(pageNumber);

  /** A page that is shared must have been met from both sides; if not, changes may hide below it. */
  check(): void {
    if (this.#seenInOld !== this.#pages.size) {
      throw outOfStep(
        `${this.#pages.size} pages are shared, ${this.#seenInOld} of them were found in the old tree`,
      );
    }
  }
}

function outOfStep(what: string): SyncError {
  return new SyncError('ENVIRONMENT_UNREADABLE', `cannot compare two states of the LMDB: ${what}`, {
    hint: 'The next full scan repairs this; if it comes again, check the file with mdb_copy.',
    retryable: true,
  });
}

/** The DBIs whose records stand in leaves of the main database that changed. */
function diffMain(sides: Sides, oldRoot: number, newRoot: number): Map<string, DbiPair> {
  const dbis = new Map<string, DbiPair>();
  if (oldRoot === newRoot) {
    return dbis;
  }
  const frontier = new Frontier(sides);
  for (const [name, newDb] of listRecords(sides.file, newRoot, frontier.collectNew)) {
    dbis.set(name, { oldDb: undefined, newDb });
  }
  for (const [name, oldDb] of listRecords(sides.file, oldRoot, frontier.collectOld)) {
    dbis.set(name, { oldDb, newDb: dbis.get(name)?.newDb });
  }
  frontier.check();
  return dbis;
}

function listRecords(file: DataFile, root: number, filter: PageFilter): Map<string, DbRecord> {
  const records = new Map<string, DbRecord>();
  const walker = new TreeWalker(file, { filter });
  walker.openTree(root);
  while (walker.next()) {
    const dbi = readDbi(walker, file.pageCount);
    if (dbi !== undefined) {
      if (records.has(dbi.name)) {
        throw damaged(`DBI "${dbi.name}" stands twice in the main database`);
      }
      records.set(dbi.name, dbi.record);
    }
  }
  return records;
}

/** A DBI that differs, the pages of which are collected. */
type ChangedTree = DbiPair & {
  readonly name: string;
  /** undefined: both sides have the same tree. */
  readonly frontier: Frontier | undefined;
  readonly isOrdered: boolean;
};

/** The first walk of both sides, for the numbers of their pages and for their order. */
function collectTree(
  sides: Sides,
  dbi: DbiPair & { readonly name: string },
  looksAtKeys: boolean,
): ChangedTree {
  const { old, now } = sidesOf(dbi);
  if (old.root === now.root) {
    return { ...dbi, frontier: undefined, isOrdered: true };
  }
  const frontier = new Frontier(sides);
  const collect = ({ root, flags }: TreeSide, filter: PageFilter): boolean => {
    const collector = new TreeCollector(sides.file, filter);
    if (looksAtKeys) {
      return collector.collect(root, orderOf(flags));
    }
    collector.collectPages(root, (flags & MDB_DUPSORT) !== 0);
    return true;
  };
  const isNewOrdered = collect(now, frontier.collectNew);
  const isOldOrdered = collect(old, frontier.collectOld);
  frontier.check();
  return { ...dbi, frontier, isOrdered: isNewOrdered && isOldOrdered };
}

/** The second walk, which pairs entries. Only now, when it is known of all trees whether they are in order. */
function reportTrees({ file }: Sides, trees: readonly ChangedTree[], sink: DiffSink): void {
  const disordered = trees.filter(({ isOrdered }) => !isOrdered);
  sink.onDisorder?.(new Map(disordered.map((tree) => [tree.name, sidesOf(tree).now.flags])));
  for (const tree of trees) {
    const { name, oldDb, newDb, frontier } = tree;
    const isAccepted = sink.accepts?.(name) ?? true;
    sink.onDbi(name, oldDb, newDb);
    if (frontier === undefined || !isAccepted) {
      continue;
    }
    const { old, now } = sidesOf(tree);
    const oldOrder = orderOf(old.flags);
    const order = orderOf(now.flags);
    const isOrdered = tree.isOrdered && oldOrder.keys === order.keys;
    new TreeDiff(file, {
      oldFilter: frontier.walkOld,
      newFilter: frontier.walkNew,
      oldHasDuplicates: oldOrder.duplicates !== undefined,
      newHasDuplicates: order.duplicates !== undefined,
      keyOrder: isOrdered ? order.keys : undefined,
      duplicateOrder:
        isOrdered && oldOrder.duplicates === order.duplicates ? order.duplicates : undefined,
      sink,
    }).run(old.root, now.root);
  }
}

type TreeSide = { readonly root: number; readonly flags: number };

function sidesOf({ oldDb, newDb }: DbiPair): { readonly old: TreeSide; readonly now: TreeSide } {
  const oldFlags = oldDb?.flags ?? newDb?.flags ?? 0;
  return {
    old: { root: oldDb?.root ?? EMPTY_ROOT, flags: oldFlags },
    now: { root: newDb?.root ?? EMPTY_ROOT, flags: newDb?.flags ?? oldFlags },
  };
}

function orderOf(flags: number): TreeOrder {
  return {
    keys: keyOrderOf(flags),
    duplicates: (flags & MDB_DUPSORT) === 0 ? undefined : dupComparator(flags),
  };
}
