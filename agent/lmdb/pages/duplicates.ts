import { DB_RECORD_BYTES, F_SUBDATA, damaged, parseDbRecord } from './layout.ts';
import type { LeafPage } from './leaf.ts';
import type { TreeWalker } from './walker.ts';

/**
 * Opens `walker` on the values of a key of a DUPSORT DBI that has several (a node with F_DUPDATA): on its sub-page
 * or on its own tree. They are the keys of what is walked. Errors: ENVIRONMENT_UNREADABLE.
 */
export function openDuplicates(walker: TreeWalker, node: LeafPage, pageCount: number): void {
  if ((node.nodeFlags & F_SUBDATA) === 0) {
    walker.openSubPage(node.buffer, node.dataStart, node.dataEnd);
    return;
  }
  if (node.dataEnd - node.dataStart !== DB_RECORD_BYTES) {
    throw damaged(`a tree of duplicates with a record of ${node.dataEnd - node.dataStart} bytes`);
  }
  walker.openTree(parseDbRecord(node.buffer, node.dataStart, pageCount).root);
}
