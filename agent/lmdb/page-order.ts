import { compareBytes } from '../../protocol/key-order.ts';
import { writeValueHeader } from '../../protocol/value-header.ts';
import { listDbis, type DataFile, type Meta } from './pages/data-file.ts';
import { F_BIGDATA, PAGE_HEADER_BYTES, readU64 } from './pages/layout.ts';
import { TreeWalker } from './pages/walker.ts';
import { SYNC_STATE_DBI } from './state-value.ts';
import type { WriteTxn } from './environment.ts';

/** Two entries of `_sync_state`, each with a value that has an overflow page to itself. */
const FIRST = Buffer.from('order/1');
const SECOND = Buffer.from('order/2');

/**
 * True if transactions of this file have counted on without a break since {@link writePageOrder}: it is the file in
 * which our marker and the ids of our merges were written, or a copy of it page by page, in which they are as true.
 *
 * `mdb_copy -c` and `mdb_load` make files that count from 1 again, and they write the pages of values in the order of
 * the keys. So our two stand in the opposite order, and nobody but us touches them. Whatever count such a copy reaches,
 * it is told by that. Device, inode and times would not do: `cp` of a compacted copy over the file keeps them, while a
 * reboot, another mount or moving the disk changes them for the same file.
 */
export function hasPageOrder(file: DataFile, meta: Meta): boolean {
  const state = listDbis(file, meta).get(SYNC_STATE_DBI);
  if (state === undefined) {
    return false;
  }
  const first = overflowPage(file, { root: state.root, key: FIRST });
  const second = overflowPage(file, { root: state.root, key: SECOND });
  return first !== undefined && second !== undefined && first > second;
}

/**
 * Writes both anew. LMDB mostly gives ascending page numbers in a transaction; whether it did is to be asked after the
 * commit, and if not, this is to be repeated with the next write: until then the marker is not believed at a start.
 */
export function writePageOrder(txn: WriteTxn): void {
  const value = Buffer.alloc(txn.committed.pageSize - PAGE_HEADER_BYTES);
  writeValueHeader(value, 0, { timeHi: 0, timeLo: 0, txnId: txn.txnId, flags: 0 });
  for (const key of [SECOND, FIRST]) {
    txn.remove(SYNC_STATE_DBI, key);
    txn.put(SYNC_STATE_DBI, key, value);
  }
}

/** undefined: there is no such entry, or its value stands in the leaf. */
function overflowPage(
  file: DataFile,
  { root, key }: { readonly root: number; readonly key: Buffer },
): number | undefined {
  const walker = new TreeWalker(file);
  walker.openTree(root);
  if (!walker.seek(compareBytes, key, 0, key.length)) {
    return undefined;
  }
  const { node } = walker;
  const found = node.buffer.subarray(node.keyStart, node.keyEnd);
  return found.equals(key) && (node.nodeFlags & F_BIGDATA) !== 0
    ? readU64(node.buffer, node.dataStart)
    : undefined;
}
