import fs from 'node:fs';
import { DataFile, listDbis, type DbRecord } from '../../../agent/lmdb/pages/data-file.ts';
import { openDuplicates } from '../../../agent/lmdb/pages/duplicates.ts';
import { F_DUPDATA, F_SUBDATA, P_LEAF2 } from '../../../agent/lmdb/pages/layout.ts';
import { TreeWalker } from '../../../agent/lmdb/pages/walker.ts';

/** Two neighbours on one page: what is to be swapped in the file, twice `length` bytes. */
type Pair = { readonly at: number; readonly length: number; readonly key: string };

const PAGE_HEADER_BYTES = 16;
const FLAGS_OFFSET = 10;

/** Of each two neighbours on one page of a DBI the places of their offsets, named by the key of the second one. */
function keyPairs(file: DataFile, db: DbRecord): Pair[] {
  const pairs: Pair[] = [];
  const walker = new TreeWalker(file);
  walker.openTree(db.root);
  while (walker.next()) {
    const { page, index } = placeOf(walker);
    if (index > 0) {
      const at = page * file.pageSize + PAGE_HEADER_BYTES + 2 * (index - 1);
      pairs.push({ at, length: 2, key: textOf(walker) });
    }
  }
  return pairs;
}

/** As {@link keyPairs}, of the values of keys that have several. */
function valuePairs(file: DataFile, db: DbRecord): Pair[] {
  const pairs: Pair[] = [];
  const keys = new TreeWalker(file);
  const values = new TreeWalker(file);
  keys.openTree(db.root);
  while (keys.next()) {
    const { node } = keys;
    if ((node.nodeFlags & F_DUPDATA) === 0) {
      continue;
    }
    const isTree = (node.nodeFlags & F_SUBDATA) !== 0;
    openDuplicates(values, node, file.pageCount);
    for (let count = 0; values.next(); count += 1) {
      const { page, index } = isTree ? placeOf(values) : { page: placeOf(keys).page, index: count };
      if (index === 0) {
        continue;
      }
      const start = isTree ? 0 : node.dataStart;
      const { buffer, keyStart, keyEnd } = values.node;
      const isFixed = (buffer.readUInt16LE(start + FLAGS_OFFSET) & P_LEAF2) !== 0;
      const length = isFixed ? keyEnd - keyStart : 2;
      const at = isFixed ? keyStart - length : start + PAGE_HEADER_BYTES + 2 * (index - 1);
      pairs.push({ at: page * file.pageSize + at, length, key: textOf(values) });
    }
  }
  return pairs;
}

function placeOf({ position }: TreeWalker): { page: number; index: number } {
  return { page: Math.floor(position / 65_536), index: position % 65_536 };
}

function textOf({ node }: TreeWalker): string {
  return node.buffer.toString('latin1', node.keyStart, node.keyEnd);
}

/**
 * Swaps two neighbours on one page of a DBI in the file, as damage does: no transaction. `pick` chooses among so many
 * pairs. Returns what swaps them back, as long as nobody has written to the page; undefined: there is no pair.
 */
export function swapPair(
  path: string,
  dbiName: string,
  options: { readonly values?: boolean; readonly pick: (count: number) => number },
): (() => void) | undefined {
  using file = DataFile.open(path);
  const db = listDbis(file, file.readMeta()).get(dbiName);
  if (db === undefined) {
    return undefined;
  }
  const pairs = options.values === true ? valuePairs(file, db) : keyPairs(file, db);
  const pair = pairs[options.pick(pairs.length)];
  if (pair === undefined) {
    return undefined;
  }
  const swap = () => {
    const fd = fs.openSync(path, 'r+');
    try {
      const { at, length } = pair;
      const bytes = Buffer.alloc(2 * length);
      fs.readSync(fd, bytes, 0, 2 * length, at);
      const swapped = Buffer.concat([bytes.subarray(length), bytes.subarray(0, length)]);
      fs.writeSync(fd, swapped, 0, 2 * length, at);
    } finally {
      fs.closeSync(fd);
    }
  };
  swap();
  return swap;
}

/** Swaps the neighbours of which the second one has this key. */
export function swapAt(path: string, dbiName: string, key: string): () => void {
  using file = DataFile.open(path);
  const db = listDbis(file, file.readMeta()).get(dbiName)!;
  const at = keyPairs(file, db).findIndex((pair) => pair.key === key);
  const back = swapPair(path, dbiName, { pick: () => at });
  if (back === undefined) {
    throw new Error(`no neighbours at ${key}`);
  }
  return back;
}

/**
 * Changes flags of a DBI in its record alone, so that its keys, or values, are in another order than its flags say:
 * that is what a DBI looks like whose application has a comparison function of its own.
 */
export function setOtherOrder(path: string, dbiName: string, flags: number): void {
  using file = DataFile.open(path);
  const meta = file.readMeta();
  const walker = new TreeWalker(file);
  walker.openTree(meta.mainDb.root);
  while (walker.next()) {
    if (textOf(walker) !== dbiName) {
      continue;
    }
    const page = Math.floor(walker.position / 65_536);
    const at = page * file.pageSize + walker.node.dataStart + 4;
    const fd = fs.openSync(path, 'r+');
    try {
      const bytes = Buffer.alloc(2);
      fs.readSync(fd, bytes, 0, 2, at);
      bytes.writeUInt16LE(bytes.readUInt16LE(0) ^ flags);
      fs.writeSync(fd, bytes, 0, 2, at);
    } finally {
      fs.closeSync(fd);
    }
    return;
  }
  throw new Error(`no DBI ${dbiName}`);
}
