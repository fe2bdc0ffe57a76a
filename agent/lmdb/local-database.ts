import type { StreamId } from '../../protocol/object-name.ts';
import type { SchemaMode } from '../../protocol/snapshot-meta.ts';
import type { VersionVector } from '../../protocol/version-vector.ts';
import type { Spool } from '../spool.ts';
import type { TouchedKeys } from './touched-keys.ts';

/** How one LMDB is opened and treated. Can be sent to another thread. */
export type DatabaseOptions = {
  readonly name: string;
  readonly path: string;
  readonly noSubdir: boolean;
  readonly create: boolean;
  readonly dirMask: number;
  readonly fileMask: number;
  /** Used only when the file is created; 0 = 1 GiB. An existing file keeps the size it has. */
  readonly mapSizeBytes: number;
  readonly maxDbs: number;
  readonly instance: string;
  readonly hostname: string;
  readonly run: string;
  /** The application keeps the value headers itself (true unless given); false: we keep them, in shadow DBIs. */
  readonly schemaTracksChanges?: boolean | undefined;
  /** Refuse an LMDB whose values contradict that (true unless given). */
  readonly schemaCheck?: boolean | undefined;
  /** Merge a newer schema version of PowerDNS than this LMDB has, instead of holding it back. */
  readonly allowSchemaUpgrade?: boolean | undefined;
  /** Without headers of the application: sync its MDB_DUPSORT DBIs, too. */
  readonly dupsortHack?: boolean | undefined;
  /** Flags (MDB_*) to create a DBI with, by its name, instead of those in the snapshot. */
  readonly createFlags?: Readonly<Record<string, number>> | undefined;
  /** Merged headers get one empty extension block (a test aid of upstream's). */
  readonly headerPadding: boolean;
  readonly maxLockHoldMs: number;
  readonly maxClockSkewMs: number;
  readonly spoolFolder: string;
  readonly spoolMemoryBytes: number;
  /** Pending keys are remembered up to this many bytes; beyond it the next object is made by a scan. */
  readonly pendingBytesMax: number;
  /** Merges report the keys that they wrote, up to this many; undefined: they do not. */
  readonly touchedKeysMax?: number | undefined;
  /** Bytes of a value with its header at most, for it to be sent or merged; all that fits into an object unless given. */
  readonly valueBytesMax?: number | undefined;
  /** Where the thread says what it is doing; see `ThreadActivity`. */
  readonly activity?: SharedArrayBuffer | undefined;
};

/** The schema mode that a database is in. */
export function schemaModeOf({ schemaTracksChanges = true }: DatabaseOptions): SchemaMode {
  return schemaTracksChanges ? 'native' : 'shadow';
}

/**
 * A DBI of the application whose entries are not in the order of its flags: nothing of it is sent, merged or put back.
 * Names have one character per byte.
 */
export type RefusedDbi = {
  readonly name: string;
  readonly what: 'keys' | 'values';
  /** The application's own comparison function, or damaged pages; as well as can be told. */
  readonly cause: 'own order' | 'damage';
};

/** Entries that are left out, and the first of them for people. */
export type LeftOutEntries = { readonly entries: number; readonly first: string };

/** What the last look at the LMDB found. */
export type Detection = {
  /** The LMDB's last transaction. */
  readonly txnId: number;
  /** The last transaction that changed a DBI whose name does not begin with `_sync`. */
  readonly dataTxnId: number;
  readonly pendingKeys: number;
  readonly pendingBytes: number;
  /** More was pending than is remembered by key. */
  readonly pendingScan: boolean;
  /** Local changes that this look found. */
  readonly newChanges: number;
  /** Local changes that lost against what they replaced and were put back, in this look. */
  readonly regressions: number;
  /** Local changes with a time above now + max_clock_skew, in this look. */
  readonly futureEntries: number;
  readonly maxTsNs: bigint;
  /** Local values without a valid header, as far as known; they are never sent. */
  readonly invalidValues: number;
  /** Local entries too large for an object, as far as known; they are never sent. */
  readonly leftOut?: LeftOutEntries | undefined;
  /** There is an entry in a DBI whose name does not begin with `_sync`. */
  readonly hasData: boolean;
  /**
   * A local change not above what was merged before, or a vanished key, was found where no diff could tell what was
   * there before (at start, after the map was enlarged): the vector was emptied, everything is to be merged again.
   */
  readonly vectorForgotten: boolean;
  /** A schema version of PowerDNS that came in and is held back, and the lower one here; undefined: none is. */
  readonly heldSchema?: { readonly version: number; readonly localVersion: number } | undefined;
  /** Why this look had to read everything, where a page diff failed; undefined: none did. */
  readonly rescan?: string | undefined;
  /** DBIs that are left alone. When one is in order again, the vector is emptied, too. */
  readonly refusedDbis: readonly RefusedDbi[];
  /**
   * With `vectorForgotten`: a DBI was left alone since then and is in order again. The host was away as far as that DBI
   * goes; undefined: there is none.
   */
  readonly leftOutSinceNs?: bigint | undefined;
  /** What the main database holds besides DBIs, as the end of a sentence: nothing is written meanwhile. */
  readonly unnamedData: string | undefined;
};

export type OpenResult = Detection & {
  readonly vector: VersionVector;
  /** The transaction up to which local changes are in stored objects; undefined: nothing is. */
  readonly uploadedTxn: number | undefined;
  readonly lastSyncNs: bigint | undefined;
  readonly bucketId: string | undefined;
  readonly entries: number;
  /** What this LMDB's state says of itself; see `SnapshotMeta`. */
  readonly rejoinBeforeNs: bigint;
  /** Own places and that among published states that are kept from an emptied vector. */
  readonly was: VersionVector;
  /** See {@link PersistOptions}. */
  readonly proof: string | undefined;
  /** The highest `droppedNs` that was persisted, by a sweep or by {@link PersistOptions}. 0: none. */
  readonly droppedNs: bigint;
};

/** Another run that goes on with what is at the path now. */
export type ReopenOptions = {
  /** Its random id. */
  readonly run: string;
  /** A stream whose objects are to be merged like anybody's, whatever `_sync_state` says. */
  readonly forgetStream?: StreamId | undefined;
};

export type EncodedObject = {
  readonly spool: Spool;
  /** Names this object in {@link LocalDatabase.acknowledge}. */
  readonly token: number;
  readonly kind: 'snapshot' | 'delta';
  readonly txnId: number;
  readonly dataTxnId: number;
  readonly entries: number;
  readonly uncompressedBytes: number;
  /** Of a full snapshot: what its Meta says it covers. */
  readonly vector: VersionVector | undefined;
  /** A full snapshot in whose read transaction every local change is in an object that was made before. */
  readonly addsNothing: boolean;
  readonly encodeMs: number;
};

/** What {@link LocalDatabase.encodeDelta} and {@link LocalDatabase.encodeSnapshot} found, and made of it. */
export type EncodeResult = {
  readonly detection: Detection;
  /** undefined: there is nothing to send. */
  readonly object: EncodedObject | undefined;
  /** What is to be stored right before `object`: see {@link SnapshotOptions}. */
  readonly news?: EncodedObject | undefined;
};

export type EncodeOptions = { readonly seq: bigint; readonly timeNs: bigint };

/** The place in the stream right after this one. */
export function placeAfter({ seq, timeNs }: EncodeOptions): EncodeOptions {
  return { seq: seq + 1n, timeNs: timeNs + 1n };
}

export type SnapshotOptions = EncodeOptions & {
  /**
   * What is pending becomes a delta of this number and time, from the same read transaction; the full snapshot is the
   * object after it, one nanosecond later, and adds nothing. Both have to be acknowledged or given back.
   */
  readonly newsFirst?: boolean | undefined;
};

export type MergeRequest = {
  readonly name: string;
  readonly spool: Spool;
  /** Joined into the vector, in the same transaction as the last write of this merge: what it adds is enough. */
  readonly vector: VersionVector;
  /** See {@link PersistOptions}. */
  readonly emptied?: number | undefined;
  /** Of the states merged so far, as the vector. */
  readonly rejoinBeforeNs?: bigint | undefined;
};

export type MergeResult = {
  readonly entries: number;
  /** Entries that were written. */
  readonly changed: number;
  /** Write transactions; 0: nothing differed, and the vector waits for the next one. */
  readonly transactions: number;
  readonly lockHeldMaxMs: number;
  readonly lockWaitMs: number;
  readonly createdDbis: readonly string[];
  /** Private DBIs (`_sync…`) that the object had and that were left out; the first of them. */
  readonly skippedDbis: readonly string[];
  /** Refused DBIs that the object had entries for, which were left out. */
  readonly refusedDbis: readonly string[];
  readonly futureEntries: number;
  /** Entries of the object that are too large for this LMDB; the others were merged. */
  readonly leftOut?: LeftOutEntries | undefined;
  /** What was written, where the database was opened with `touchedKeysMax`. */
  readonly touched?: TouchedKeys | undefined;
  readonly detection: Detection;
  /** Nothing was merged: the vector was emptied since the request's was made. */
  readonly isStale?: boolean | undefined;
};

export type PersistOptions = {
  /** Joined into the vector: what has changed since the last call that resolved is enough. */
  readonly vector: VersionVector;
  /** Streams that leave the vector. */
  readonly dropped?: readonly StreamId[] | undefined;
  /**
   * How many detections of this run with `vectorForgotten` the caller knows of; undefined: all of them. Whoever does
   * not know of the last one gives positions that are not true any more: they are ignored.
   */
  readonly emptied?: number | undefined;
  readonly rejoinBeforeNs?: bigint | undefined;
  /** See `Manifest.droppedNs`. A lower one than the known is left out. */
  readonly droppedNs?: bigint | undefined;
  /** A note of the caller's own, which the next {@link LocalDatabase.open} returns; written with the vector. */
  readonly proof?: string | undefined;
  /** What was known when the vector was emptied is in a stored full snapshot again. */
  readonly forgetsWas?: boolean | undefined;
  readonly lastSyncNs?: bigint | undefined;
  readonly bucketId?: string | undefined;
  /** First empties vector and uploaded marker: it is another bucket. Everything is pending. */
  readonly resetMarker?: boolean | undefined;
  /** Remembers the number of entries, to notice at the next start if some vanished meanwhile. */
  readonly entriesAtStop?: boolean | undefined;
};

/** Where a sweep goes on. */
export type SweepPosition = { readonly dbiName: string; readonly key: Uint8Array };

export type SweepOptions = {
  readonly from: SweepPosition | undefined;
  /** Only tombstones below this time go. */
  readonly cutoffNs: bigint;
  /** Noted where something is removed: who synced last before this may not have seen the deletion. */
  readonly rejoinBeforeNs: bigint;
  /** How long the write lock may be held. */
  readonly lockMs: number;
};

/** What one slice of a sweep has walked over and done. */
export type SweepSlice = {
  /** undefined: the sweep is complete. */
  readonly next: SweepPosition | undefined;
  /** Registers that stay, tombstones included. */
  readonly entries: number;
  /** Tombstones that stay. */
  readonly tombstones: number;
  readonly removed: number;
  readonly transactions: number;
  readonly detection: Detection;
};

export type FinishRejoinOptions = {
  /** Somebody else has stored something since the last sync: only then may anything have been swept. */
  readonly othersWrote: boolean;
  /** Unsent local changes older than this get the time {@link nowNs}. */
  readonly staleBeforeNs: bigint;
  readonly nowNs: bigint;
};

export type RejoinResult = {
  /** Entries that were uploaded or merged before and are in no object of the bucket. */
  readonly dropped: number;
  /** Unsent local changes that got the time of the rejoin. */
  readonly stamped: number;
  readonly detection: Detection;
};

/** Names one entry. */
export type EntryKey = { readonly dbiName: string; readonly key: Uint8Array };

export type DatabaseStats = {
  readonly pageSize: number;
  readonly mapSizeBytes: number;
  readonly fileSizeBytes: number;
  readonly lastPage: number;
  readonly lastTxnId: number;
  readonly readers: number;
  readonly maxReaders: number;
  readonly dbis: readonly {
    readonly name: string;
    readonly flags: number;
    readonly entries: number;
    readonly depth: number;
    readonly branchPages: number;
    readonly leafPages: number;
    readonly overflowPages: number;
  }[];
};

/**
 * One local LMDB as the engine sees it. Calls are carried out one after the other; all but {@link open} may be
 * repeated after a rejection, which leaves pin, pending keys, marker and vector as they were.
 *
 * Rejects with SyncErrors: MAP_FULL and TRANSACTION_FAILED (retryable), ENVIRONMENT_UNREADABLE, ADDON_FORMAT_WRONG,
 * ENVIRONMENT_REPLACED (nothing but {@link reopen} and {@link close} helps then), CONFIG_INVALID while the application
 * has something that the configuration cannot sync, and from {@link merge} SNAPSHOT_CORRUPT, SNAPSHOT_INCOMPATIBLE, SNAPSHOT_REJECTED.
 */
export interface LocalDatabase {
  /** Opens the LMDB. Its first read transaction is the first pin, and is scanned for what is not uploaded. */
  open(): Promise<OpenResult>;
  /** Finds what changed since the last look, puts local regressions back, and moves the pin. */
  detect(): Promise<Detection>;
  /**
   * Detects, takes all pending keys and encodes their current values into a delta.
   * Nothing that was encoded before may be unacknowledged.
   */
  encodeDelta(options: EncodeOptions): Promise<EncodeResult>;
  /**
   * The whole state of one read transaction, unless there is no data; it includes all that is pending. While a DBI is
   * refused there is no whole state: a delta instead.
   */
  encodeSnapshot(options: SnapshotOptions): Promise<EncodeResult>;
  /** The object of this token is stored: the uploaded marker moves, in memory until the next merge or persist. */
  acknowledge(token: number): Promise<void>;
  /** The object of this token may not be stored, and nobody tries any more: all that it held is pending again. */
  giveBack(token: number): Promise<Detection>;
  /** Checks the whole object, then merges it. A damaged one changes nothing. */
  merge(request: MergeRequest): Promise<MergeResult>;
  /** Writes vector, marker and max_ts (always together), and what else is given, if anything differs. */
  persist(options: PersistOptions): Promise<Detection>;
  /** Removes old tombstones that are in stored objects or came from them, in at most one short transaction. */
  sweep(options: SweepOptions): Promise<SweepSlice>;
  /** From now on the keys of everything that is merged are remembered, until {@link finishRejoin}. Begins anew if repeated. */
  beginRejoin(): Promise<void>;
  /** Forgets a rejoin that cannot be completed now. */
  abandonRejoin(): Promise<void>;
  /** To be called when every object of the bucket was merged since {@link beginRejoin}. */
  finishRejoin(options: FinishRejoinOptions): Promise<RejoinResult>;
  /** The stored bytes of entries, header and all, as of the newest state; undefined where there is none. Few at a time. */
  values(entries: readonly EntryKey[]): Promise<(Uint8Array | undefined)[]>;
  /** Sizes and page counts, without the write lock. */
  stats(): Promise<DatabaseStats>;
  /**
   * Ends the run and begins another one in its place, as {@link close} and {@link open} would: what is at the path now is
   * opened and scanned. May be repeated after a rejection; until it succeeds all other calls reject.
   */
  reopen(options: ReopenOptions): Promise<OpenResult>;
  close(): Promise<void>;
}
