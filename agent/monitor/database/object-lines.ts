import { formatGoDuration } from '../../../protocol/time.ts';
import type { MergedEvent, StoredEvent } from '../../engine/observer.ts';
import type { Logger } from '../../log/log.ts';
import { shownName } from '../status.ts';

/** Logs an object that was stored. */
export function logStored(log: Logger, event: StoredEvent): void {
  const { encoded, sizeBytes } = event;
  const ratio = sizeBytes === 0 ? 0 : encoded.uncompressedBytes / sizeBytes;
  log.info(
    {
      snapshot_name: event.name,
      snapshot_kind: encoded.kind,
      snapshot_size: sizeBytes,
      uncompressed_size: encoded.uncompressedBytes,
      compression_ratio: `1:${ratio.toFixed(2)}`,
      entries: encoded.entries,
      txnID: encoded.txnId,
      attempts: event.attempts,
      time_store: roundedDuration(event.storeMs),
      time_total: roundedDuration(event.totalMs),
    },
    'Stored snapshot',
  );
}

/** Logs an object that was merged, and what it did besides. */
export function logMerged(log: Logger, event: MergedEvent): void {
  const { object, result } = event;
  for (const dbi of result.createdDbis) {
    log.warn({ dbi: shownName(dbi), snapshot_name: object.name }, 'DBI created from a snapshot');
  }
  for (const dbi of result.skippedDbis) {
    log.warn(
      { dbi: shownName(dbi), snapshot_name: object.name },
      'private DBI in a snapshot skipped',
    );
  }
  log.info(
    {
      snapshot_instance: object.instance,
      snapshot_name: object.name,
      kind: object.kind,
      entries: result.entries,
      changed: result.changed,
      compressed_size_bytes: event.sizeBytes,
      txnID: result.detection.txnId,
      time_write_lock: roundedDuration(result.lockHeldMaxMs),
      time_total: roundedDuration(event.totalMs),
    },
    'Loaded remote snapshot',
  );
}

/** Durations in logs: to the microsecond, as Go prints them. */
function roundedDuration(ms: number): string {
  return formatGoDuration(Math.round(ms * 1000) / 1000);
}
