import { HighestTime, isAbove } from './highest-time.ts';
import type { TxnRanges } from '../txn-ranges.ts';
import { KeySet } from './key-set.ts';
import type { DataFile, Meta } from '../pages/data-file.ts';
import { addOnce } from '../pages/collect.ts';
import { PageCursor } from '../pages/cursor.ts';
import { collectPages } from '../pages/diff.ts';
import type { PageSet } from '../pages/set.ts';
import { isValidValue, timeHiAt, timeLoAt, txnIdAt } from '../../../protocol/value-header.ts';
import type { LeftOut } from './left-out.ts';
import { noteInvalid } from './stored-value.ts';
import type { SyncedDbis } from './synced-dbis.ts';

export type ScanOptions = {
  readonly dbis: SyncedDbis;
  /** Becomes the page set of the state: the scan reads every page anyway. */
  readonly pages: PageSet;
  /** Entries of later transactions, and of transaction 0, are local changes unless they are echoes. */
  readonly sinceTxn: number;
  readonly merged: TxnRanges;
  /** A local change not above this was written by a clock that is behind. */
  readonly maxTsNs: bigint;
  readonly pendingBytesMax: number;
  readonly invalid: Set<string>;
  /** Called for each DBI that is not in the order of its flags. Of a synced one nothing is in the result. */
  readonly onDisorder: (dbiName: string) => void;
  readonly leftOut: LeftOut;
};

export type ScanResult = {
  readonly pending: KeySet;
  readonly changes: number;
  /** A local change is not above `maxTsNs`: it may have replaced a newer entry. */
  readonly low: boolean;
  /** The highest time of any entry. */
  readonly maxTsNs: bigint;
};

/**
 * True where entries may have gone since there were `before`, with nothing left to see of them. Updates and new entries
 * look alike: only where every change is a new entry is it certain that none of the others is gone.
 */
export function mayHaveVanished(
  before: number,
  now: { readonly entries: number; readonly changes: number },
): boolean {
  const added = now.entries - before;
  return added !== 0 && added !== now.changes;
}

/** Reads every header once and finds what no stored object holds: at start, and where no diff is possible. */
export function scanLocalChanges(file: DataFile, meta: Meta, options: ScanOptions): ScanResult {
  const { dbis, pages, invalid, leftOut, onDisorder } = options;
  const pending = new KeySet(options.pendingBytesMax);
  const highest = new HighestTime();
  let changes = 0;
  let low = false;
  invalid.clear();
  leftOut.clear();
  collectPages(file, meta, { pages, skips: (name) => dbis.has(name), onDisorder });
  const onPage = addOnce(pages);
  for (const [name, { record, header }] of dbis) {
    const cursor = new PageCursor(file, record, { onPage, checksOrder: true });
    const scan = scanDbi(cursor, { ...options, name, headerName: header.name, pending });
    if (scan === undefined) {
      pending.deleteDbi(name);
      onDisorder(name);
      continue;
    }
    changes += scan.changes;
    low ||= scan.low;
    highest.raise(scan.highest);
  }
  return { pending, changes, low, maxTsNs: highest.ns };
}

/** One DBI; undefined: it is not in the order of its flags. All of its pages are walked in either case. */
function scanDbi(
  cursor: PageCursor,
  options: ScanOptions & {
    readonly name: string;
    readonly headerName: string;
    readonly pending: KeySet;
  },
): { changes: number; low: boolean; highest: HighestTime } | undefined {
  const { name, headerName, pending, sinceTxn, merged, invalid, leftOut } = options;
  const knownHi = Number(options.maxTsNs >> 32n);
  const knownLo = Number(options.maxTsNs & 0xffff_ffffn);
  const highest = new HighestTime();
  let changes = 0;
  let low = false;
  while (cursor.next()) {
    const { keyStart, keyEnd, valueStart, valueEnd } = cursor;
    if (leftOut.isTooLarge(keyEnd - keyStart, valueEnd - valueStart)) {
      leftOut.note(headerName, keyText(cursor), valueEnd - valueStart);
      continue;
    }
    const { valueBuffer } = cursor;
    if (!isValidValue(valueBuffer, valueStart, valueEnd)) {
      noteInvalid(invalid, name, keyText(cursor));
      continue;
    }
    const timeHi = timeHiAt(valueBuffer, valueStart);
    const timeLo = timeLoAt(valueBuffer, valueStart);
    highest.note(timeHi, timeLo);
    const txnId = txnIdAt(valueBuffer, valueStart);
    if ((txnId <= sinceTxn && txnId !== 0) || merged.has(txnId)) {
      continue;
    }
    changes += 1;
    if (!isAbove(timeHi, timeLo, knownHi, knownLo)) {
      low = true;
    }
    pending.add(name, keyText(cursor));
  }
  // Asked once, not for each entry: whoever learns of it forgets what was noted on the way.
  return cursor.isOrdered ? { changes, low, highest } : undefined;
}

function keyText({ keyBuffer, keyStart, keyEnd }: PageCursor): string {
  return keyBuffer.toString('latin1', keyStart, keyEnd);
}
