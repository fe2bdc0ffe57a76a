import { isUtf8 } from 'node:buffer';
import type { LeftOutEntries, RefusedDbi } from '../lmdb/local-database.ts';

/** Entries of others that are left out here, and the object that had the first of them. */
export type ReceivedLeftOut = LeftOutEntries & { readonly object: string };

/** One DBI as the status page and the metrics show it. */
export type DbiStatus = {
  readonly name: string;
  /** Persistent LMDB flags. */
  readonly flags: number;
  readonly entries: number;
  readonly depth: number;
  readonly branchPages: number;
  readonly leafPages: number;
  readonly overflowPages: number;
};

/** The LMDB environment at its last look; a look needs no write lock and never happens on the main thread. */
export type EnvironmentStatus = {
  readonly pageSize: number;
  readonly mapSizeBytes: number;
  readonly fileSizeBytes: number;
  /** Number of the last page that was ever used. */
  readonly lastPage: number;
  readonly lastTxnId: number;
  readonly readers: number;
  readonly maxReaders: number;
  readonly dbis: readonly DbiStatus[];
};

/** How far the merging of one other instance's objects has come. */
export type InstanceStatus = {
  readonly instance: string;
  /** Name time of its newest object that was seen, milliseconds since the epoch. */
  readonly newestMs: number;
  /** Name time of its newest object that was merged; undefined: none by this process. */
  readonly mergedMs: number | undefined;
  /** How long the newest object seen has been waiting to be merged; 0: nothing waits. */
  readonly lagMs: number;
};

export type MergeStatus = {
  readonly atMs: number;
  readonly object: string;
  readonly entries: number;
  readonly changed: number;
  readonly transactions: number;
  /** The longest time the write lock was held. */
  readonly lockHeldMs: number;
  readonly totalMs: number;
};

export type UploadStatus = {
  readonly atMs: number;
  readonly object: string;
  readonly kind: 'snapshot' | 'delta';
  readonly entries: number;
  readonly sizeBytes: number;
  readonly totalMs: number;
};

/** One object that was stored or merged, for the list of what happened lately. */
export type ActivityStatus = {
  readonly atMs: number;
  readonly direction: 'upload' | 'merge';
  /** Who wrote it. */
  readonly instance: string;
  readonly object: string;
  readonly kind: string;
  readonly entries: number;
  /** How many of them a merge changed here; of an upload: all. */
  readonly changed: number;
  readonly sizeBytes: number;
  readonly totalMs: number;
};

/** A rejoin that is due and not finished; until then nothing is dropped, swept or cleaned here. */
export type RejoinStatus = {
  /** The last complete sync before the long absence. */
  readonly lastSyncMs: number;
  /** Why the last try could not be finished; undefined: it is under way. */
  readonly postponed: string | undefined;
};

/** How the agent hears of new objects. */
export type NoticeStatus = {
  readonly source: 'poll' | 'marker' | 'watch' | 'queue';
  /** Why that does not work now, since when; the storage is listed meanwhile. */
  readonly trouble: { readonly sinceMs: number; readonly error: string } | undefined;
};

export type QuarantinedObject = {
  readonly name: string;
  readonly error: string;
  /** It is not damaged: it brings more DBIs than `max_dbs` allows. */
  readonly exceedsDbis?: boolean | undefined;
  /** Nothing is wrong with it but the schema mode of its writer, or of this database. */
  readonly otherMode?: boolean | undefined;
};

/** Something that happened several times and matters for a while. */
/** Looks that had to read a whole LMDB, and why the last one had to. */
type RescanStatus = Occurrences & { readonly reason: string };

export type Occurrences = { readonly total: number; readonly lastMs: number | undefined };

/** Everything about one database that is shown or measured. A snapshot: reading it costs nothing. */
export type DatabaseStatus = {
  readonly name: string;
  readonly path: string;
  /** Undefined until the environment was looked at for the first time. */
  readonly environment: EnvironmentStatus | undefined;
  /** The last error of the LMDB, until work succeeds again. */
  readonly error: string | undefined;
  readonly mapFull: boolean;
  readonly started: boolean;
  /** When the last complete pass of this run ended. */
  readonly lastPassMs: number | undefined;
  /** How long the oldest local change has been waiting that is in no stored object; 0: nothing waits. */
  readonly unsentMs: number;
  readonly pendingKeys: number;
  readonly pendingBytes: number;
  /** More is pending than is remembered by key: the next object is made by a scan. */
  readonly pendingScan: boolean;
  readonly vectorSize: number;
  readonly instances: readonly InstanceStatus[];
  readonly lastMerge: MergeStatus | undefined;
  readonly lastUpload: UploadStatus | undefined;
  /** What was stored and merged lately, the newest first. */
  readonly recent: readonly ActivityStatus[];
  readonly quarantined: readonly QuarantinedObject[];
  /** Objects that the map has no room for. */
  readonly refused: readonly QuarantinedObject[];
  readonly rejoin: RejoinStatus | undefined;
  /** Local writes that lost against what they replaced, and were put back. */
  readonly regressions: Occurrences;
  /** Entries with a time further in the future than `max_clock_skew`. */
  readonly futureEntries: Occurrences;
  readonly rescans: RescanStatus;
  /** Local values without a valid header, which cannot be sent. */
  readonly invalidValues: number;
  /** A schema version of PowerDNS that is held back, and the lower one here. */
  readonly heldSchema?: { readonly version: number; readonly localVersion: number } | undefined;
  /** Local entries that are too large to be sent. */
  readonly leftOut?: LeftOutEntries | undefined;
  /** Entries of others that are too large for this LMDB. */
  readonly receivedLeftOut?: ReceivedLeftOut | undefined;
  /** Streams of other living agents with this instance's name. */
  readonly sharedName: readonly string[];
  /** DBIs out of order: nothing of them is synced. Names have one character per byte. */
  readonly refusedDbis: readonly RefusedDbi[];
  /** What the main database holds besides DBIs, as the end of a sentence: nothing is written meanwhile. */
  readonly unnamedData: string | undefined;
};

/** What the status server and the metrics read; every call answers at once from memory. */
export interface StatusSource {
  readonly instance: string;
  readonly version: string;
  /** When the agent started, milliseconds since the epoch. */
  readonly startedMs: number;
  databases(): readonly DatabaseStatus[];
  /** Storage requests since the start by kind (`list`, `load`, `store`, `delete`, …). */
  requests(): ReadonlyMap<string, number>;
  /** Those of them that failed, by kind. */
  failedRequests(): ReadonlyMap<string, number>;
  notices(): NoticeStatus;
  /** What a loop of listings would wait between two; undefined: requests to this storage cost nothing. */
  readonly billedPollIntervalMs?: number | undefined;
}

/** Bytes in use: all pages of all DBIs, as upstream counts. */
export function usedBytes(environment: EnvironmentStatus): number {
  return environment.dbis.reduce((sum, dbi) => sum + dbiUsedBytes(dbi, environment.pageSize), 0);
}

/** Bytes in use by one DBI. */
export function dbiUsedBytes(dbi: DbiStatus, pageSize: number): number {
  return pageSize * (dbi.branchPages + dbi.leafPages + dbi.overflowPages);
}

/**
 * A DBI's name for people, as text and without control characters: inside, names are the bytes of the file, one character
 * each. Names that are no UTF-8 stay that way.
 */
export function shownName(name: string): string {
  const bytes = Buffer.from(name, 'latin1');
  return (isUtf8(bytes) ? bytes.toString('utf8') : name).replaceAll(/\p{Cc}/gu, '.');
}

/** What a look at the LMDB found, with names for people. */
export function shown(environment: EnvironmentStatus): EnvironmentStatus {
  const dbis = environment.dbis.map((dbi) => ({ ...dbi, name: shownName(dbi.name) }));
  return { ...environment, dbis };
}
