import type { Detection, MergeResult } from './local-database.ts';

/** The result of a merge that was not begun. */
export function nothingMerged(detection: Detection): MergeResult {
  return {
    entries: 0,
    changed: 0,
    transactions: 0,
    lockHeldMaxMs: 0,
    lockWaitMs: 0,
    createdDbis: [],
    skippedDbis: [],
    futureEntries: 0,
    detection,
  };
}
