import type { KeyOrder } from '../../../protocol/key-order.ts';
import {
  NODE_HEADER_BYTES,
  PAGE_HEADER_BYTES,
  P_BRANCH,
  damaged,
  readU16,
  readU32,
} from './layout.ts';

const TWO_32 = 2 ** 32;

/** Children of the branch page in `page`, at least one. Errors: ENVIRONMENT_UNREADABLE if it is no branch. */
export function branchCount(page: Buffer): number {
  const flags = readU16(page, 10);
  const count = (readU16(page, 12) - PAGE_HEADER_BYTES) >> 1;
  const isTooLong = PAGE_HEADER_BYTES + 2 * count > page.length;
  if ((flags & P_BRANCH) === 0 || count < 1 || isTooLong) {
    throw damaged(`a page with flags ${flags} and ${count} nodes where a branch or leaf must be`);
  }
  return count;
}

/** Page number of a child, below `pageCount`. Errors: ENVIRONMENT_UNREADABLE. */
export function branchChild(page: Buffer, index: number, pageCount: number): number {
  const node = nodeOffset(page, index);
  const child = readU32(page, node) + readU16(page, node + 4) * TWO_32;
  if (child < 2 || child >= pageCount) {
    throw damaged(`a branch points to page ${child} of ${pageCount}`);
  }
  return child;
}

/** Compares the separator at `index` (1 and up: the first stands for "lowest" and has no key) with `key`. */
export function compareSeparator(
  page: Buffer,
  index: number,
  comparator: KeyOrder,
  key: Uint8Array,
  start: number,
  end: number,
): number {
  const node = nodeOffset(page, index);
  const keyStart = node + NODE_HEADER_BYTES;
  const keyEnd = keyStart + readU16(page, node + 6);
  if (keyEnd > page.length) {
    throw damaged('a key of a branch leaves its page');
  }
  return comparator(page, keyStart, keyEnd, key, start, end);
}

/** Index of the child at or after `from` in which `key` belongs; the caller knows that none before can be. */
export function searchBranch(
  page: Buffer,
  count: number,
  from: number,
  comparator: KeyOrder,
  key: Uint8Array,
  start: number,
  end: number,
): number {
  let low = from;
  let high = count - 1;
  for (let step = 1; low + step <= high; step *= 2) {
    if (compareSeparator(page, low + step, comparator, key, start, end) > 0) {
      high = low + step - 1;
      break;
    }
    low += step;
  }
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (compareSeparator(page, middle, comparator, key, start, end) > 0) {
      high = middle - 1;
    } else {
      low = middle;
    }
  }
  return low;
}

function nodeOffset(page: Buffer, index: number): number {
  const node = readU16(page, PAGE_HEADER_BYTES + 2 * index);
  if (node + NODE_HEADER_BYTES > page.length) {
    throw damaged('a node of a branch leaves its page');
  }
  return node;
}
