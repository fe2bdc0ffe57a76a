import type { Clock } from '../../protocol/time.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import type { LocalDatabase } from '../lmdb/local-database.ts';
import type { Logger } from '../log/log.ts';
import type { Sleep } from '../pacing/sleep.ts';
import type { Watchdog } from '../watchdog/watchdog.ts';
import type { FullSnapshotSettings } from './publish/full-snapshot-policy.ts';
import type { SyncObserver } from './observer.ts';
import type {
  CleanerObserver,
  CleanerSettings,
  RejoinObserver,
  SweeperObserver,
  SweeperSettings,
} from './housekeeping-types.ts';

/** What one database's engine needs to know; all durations in milliseconds. */
export type EngineSettings = FullSnapshotSettings & {
  readonly database: string;
  readonly instance: string;
  /** Random id of this start of the agent; with `instance` it names the stream that this run writes. */
  readonly run: string;
  readonly receiveOnly: boolean;
  readonly onlyOnce: boolean;
  readonly retryIntervalMs: number;
  /** Average distance between two stored objects; 0 = unbounded (file system). */
  readonly uploadMinIntervalMs: number;
  readonly uploadBurst: number;
  /** The vector and the uploaded marker are written at the latest this long after an upload. */
  readonly persistIntervalMs: number;
  readonly shutdownTimeoutMs: number;
  /** A downloaded or encoded object up to this size stays in memory. */
  readonly spoolMemoryBytes: number;
  readonly spoolFolder: string;
  /** How many objects one database fetches at a time. */
  readonly downloadConcurrency: number;
};

export type EngineDeps = {
  readonly settings: EngineSettings;
  readonly db: LocalDatabase;
  readonly store: ObjectStore;
  readonly clock: Clock;
  /** For how long this machine has run, whatever its clock says; undefined: nobody asks whether it was set. */
  readonly monotonicMs?: (() => number) | undefined;
  /**
   * To be called before anything is encoded or stored, with the time in the name of what is stored; throws when that must
   * not be done any more.
   */
  readonly beforeSend?: ((namedNs?: bigint) => void) | undefined;
  readonly sleep: Sleep;
  /** Fills with random bytes; for the bucket's id. */
  readonly randomBytes: (size: number) => Uint8Array;
  /** In [0, 1); for jitter. */
  readonly random: () => number;
  readonly log: Logger;
  readonly observer: SyncObserver;
  /** Knows of every loop whether it makes progress. */
  readonly watchdog: Watchdog;
  /** undefined: this agent deletes nothing in the storage. */
  readonly cleaning?:
    | { readonly settings: CleanerSettings; readonly observer: CleanerObserver }
    | undefined;
  /** undefined: what this agent's sweeper has. */
  readonly rejoinObserver?: RejoinObserver | undefined;
  /** undefined: this agent keeps tombstones for ever; what others have dropped, their states say. */
  readonly sweeping?:
    | { readonly settings: SweeperSettings; readonly observer: SweeperObserver }
    | undefined;
};
