import type { ObjectName } from '../../protocol/object-name.ts';
import type { SyncError } from '../../protocol/errors.ts';
import type { Detection, EncodedObject, MergeResult } from '../lmdb/local-database.ts';

/**
 * What is tried again where it fails, until the same succeeds. The storing, listing and loading of objects have events of
 * their own, since more is to be said of them.
 */
export type Step =
  | 'bucket id'
  | 'bucket id content'
  | 'pass'
  | 'manifest'
  | 'base'
  | 'old objects'
  | 'merge'
  | 'local changes'
  | 'sync state'
  | 'clean'
  | 'sweep';

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

export type PassedEvent = {
  /** Also the published state was read and merged: what was in the bucket at its begin is in the LMDB. */
  readonly complete: boolean;
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
  /** It is tried again. No `name`: by an error that nobody expects, and what was to be sent is encoded anew. */
  storeFailed(name: string | undefined, error: unknown): void;
  listed(event: ListedEvent): void;
  listFailed(error: unknown): void;
  loaded(name: string, sizeBytes: number): void;
  loadFailed(object: ObjectName, error: unknown): void;
  merged(event: MergedEvent): void;
  /** The step failed and is tried again; `subject`: with this object, where it is done object by object. */
  stepFailed(step: Step, error: unknown, subject?: string): void;
  /** The same step succeeded: with this object or, without one, as a whole. */
  stepWorked(step: Step, subject?: string): void;
  /** A listing pass has ended in which nothing that is wanted failed. */
  passed(event: PassedEvent): void;
  /** The object's bytes cannot be used: it is left alone until it changes or the agent restarts. */
  quarantined(object: ObjectName, error: SyncError): void;
  /** The LMDB's map has no room for the object: it is left alone until there is, and then tried again. */
  refused(object: ObjectName, error: SyncError): void;
  /** The object is gone, replaced or covered: no longer a matter of concern. */
  released(name: string): void;
  /** Everything listed at start is merged or quarantined. */
  started(): void;
  /** Own-instance objects of another living run were seen: two agents share a name. */
  sharedNameSeen(stream: string): void;
}
