import type { ObjectName } from '../../protocol/object-name.ts';
import type { SyncError } from '../../protocol/errors.ts';
import type { Detection, EncodedObject, MergeResult } from '../lmdb/local-database.ts';

export type StoredEvent = {
  readonly name: string;
  readonly encoded: EncodedObject;
  readonly sizeBytes: number;
  /** From the start of encoding to the acknowledgement. */
  readonly totalMs: number;
  readonly storeMs: number;
  readonly attempts: number;
};

export type MergedEvent = {
  readonly object: ObjectName;
  readonly result: MergeResult;
  readonly sizeBytes: number;
  readonly totalMs: number;
};

export type ListedEvent = {
  readonly objects: number;
  readonly bytes: number;
  /** Newest object per other instance: what lag is measured against. */
  readonly newest: ReadonlyMap<string, ObjectName>;
};

/**
 * What happens in one database's engine, for metrics, health, the status page and logs. Calls must be cheap and
 * never throw; the engine does not wait for anything behind them.
 */
export interface SyncObserver {
  detected(detection: Detection): void;
  /** An object was encoded; its first PUT starts. */
  generated(name: string, encoded: EncodedObject): void;
  stored(event: StoredEvent): void;
  storeFailed(name: string, error: unknown): void;
  listed(event: ListedEvent): void;
  listFailed(error: unknown): void;
  loaded(name: string, sizeBytes: number): void;
  loadFailed(object: ObjectName, error: unknown): void;
  merged(event: MergedEvent): void;
  /** A merge, a detection or a state write could not be done in the LMDB (map full, disk full); it is retried. */
  databaseFailed(error: unknown): void;
  databaseWorked(): void;
  /** The object's bytes cannot be used: it is left alone until it changes or the agent restarts. */
  quarantined(object: ObjectName, error: SyncError): void;
  /** The object is gone, replaced or covered: no longer a matter of concern. */
  released(name: string): void;
  /** Everything listed at start is merged or quarantined. */
  started(): void;
  /** Own-instance objects of another living run were seen: two agents share a name. */
  sharedNameSeen(stream: string): void;
}
