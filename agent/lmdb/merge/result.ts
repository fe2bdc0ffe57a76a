import type { Detection, MergeResult } from '../local-database.ts';
import type { MergeCollector } from './collector.ts';
import type { WriteSetApplier } from './write-set-applier.ts';

/** The result of a merge that was not begun, because its vector is not true any more. */
export function nothingMerged(detection: Detection): MergeResult {
  return {
    entries: 0,
    changed: 0,
    transactions: 0,
    lockHeldMaxMs: 0,
    lockWaitMs: 0,
    createdDbis: [],
    skippedDbis: [],
    refusedDbis: [],
    futureEntries: 0,
    detection,
    isStale: true,
  };
}

/** What became of a merge: `checked` has seen all of the object, `applied` has written what differed. */
export function mergeResult(
  checked: MergeCollector,
  applied: WriteSetApplier,
  detection: Detection,
): MergeResult {
  return {
    entries: checked.entries,
    changed: applied.changed,
    transactions: applied.transactions,
    lockHeldMaxMs: applied.lockHeldMaxMs,
    lockWaitMs: applied.lockWaitMs,
    createdDbis: [...checked.missingDbis.keys()],
    skippedDbis: [...checked.skippedDbis],
    refusedDbis: [...checked.refusedDbis],
    futureEntries: checked.futureEntries,
    leftOut: checked.leftOut,
    touched: applied.touched?.keys,
    detection,
  };
}
