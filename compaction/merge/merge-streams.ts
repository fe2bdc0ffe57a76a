import type { EntryView } from '../../protocol/snapshot.ts';
import type { EntryCursor } from './cursor.ts';
import type { DbiTable } from './dbi-table.ts';
import { newView } from '../../protocol/snapshot.ts';

/** Receives the merged entries in order. */
export type MergeOutput = {
  /** The winner of one key; the view is valid during the call. */
  onEntry(dbi: number, entry: EntryView): void;
  /** Called every few thousand entries: the place to write out, and to stop by throwing. */
  pause(): Promise<void>;
};

/**
 * Merges sorted inputs into one: per key the register that wins, in the order of DBI names and keys. Memory is
 * one block per input; time is O(entries × log inputs).
 *
 * The cursors are filled and read to their end; closing them is the caller's.
 */
export async function mergeStreams(
  cursors: readonly EntryCursor[],
  table: DbiTable,
  output: MergeOutput,
): Promise<void> {
  const heap: EntryCursor[] = [];
  for (const cursor of cursors) {
    if (await cursor.fill()) {
      push(heap, cursor, table);
    }
  }
  const view = newView();
  const equals: EntryCursor[] = [];
  while (heap.length > 0) {
    await output.pause();
    // Without a wait until some input is at the end of its block.
    for (let exhausted = false; !exhausted && heap.length > 0;) {
      const winner = popEqual(heap, table, equals);
      winner.batch.view(winner.index, view);
      output.onEntry(winner.batch.dbiAt(winner.index), view);
      for (const cursor of equals) {
        if (cursor.next()) {
          push(heap, cursor, table);
        } else {
          exhausted = true;
          if (await cursor.fill()) {
            push(heap, cursor, table);
          }
        }
      }
    }
  }
}

/** Takes all cursors at the lowest key off the heap, into `equals`; returns the one whose entry wins. */
function popEqual(heap: EntryCursor[], table: DbiTable, equals: EntryCursor[]): EntryCursor {
  let winner = pop(heap, table);
  equals.length = 0;
  equals.push(winner);
  for (let top = heap[0]; top !== undefined && compare(top, winner, table) === 0; top = heap[0]) {
    const other = pop(heap, table);
    equals.push(other);
    if (other.batch.wins(other.index, winner.batch, winner.index)) {
      winner = other;
    }
  }
  return winner;
}

function compare(a: EntryCursor, b: EntryCursor, table: DbiTable): number {
  return a.batch.comparePlaces(a.index, b.batch, b.index, table);
}

function push(heap: EntryCursor[], cursor: EntryCursor, table: DbiTable): void {
  let at = heap.push(cursor) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || compare(above, cursor, table) <= 0) {
      break;
    }
    heap[at] = above;
    at = parent;
  }
  heap[at] = cursor;
}

function pop(heap: EntryCursor[], table: DbiTable): EntryCursor {
  const top = heap[0];
  const last = heap.pop();
  if (top === undefined || last === undefined) {
    throw new RangeError('the heap is empty');
  }
  if (heap.length > 0) {
    siftDown(heap, last, table);
  }
  return top;
}

function siftDown(heap: EntryCursor[], cursor: EntryCursor, table: DbiTable): void {
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    const left = heap[child];
    if (left === undefined) {
      break;
    }
    let lowest = left;
    const right = heap[child + 1];
    if (right !== undefined && compare(right, left, table) < 0) {
      lowest = right;
      child += 1;
    }
    if (compare(cursor, lowest, table) <= 0) {
      break;
    }
    heap[at] = lowest;
    at = child;
  }
  heap[at] = cursor;
}
