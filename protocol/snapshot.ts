import type { VersionVector } from './version-vector.ts';
import type { TimestampNs } from './time.ts';
import { FLAG_DELETED } from './value-header.ts';

/** The format version that the writer writes. Changing it breaks upstream readers' checks: see docs/format.md. */
export const FORMAT_VERSION = 3;

/** The oldest format a reader must know to read what the writer writes. */
export const COMPAT_VERSION = 1;

/** The newest `compatVersion` that the reader accepts. */
export const MAX_COMPAT_VERSION = 3;

/** From this format version on, an empty value is an ordinary value; before, it means deleted. */
export const FIRST_FORMAT_WITH_FLAGS = 2;

/** What a snapshot says about itself. Upstream's fields never influence a merge; the name of the object does. */
export type SnapshotMeta = {
  readonly generationId: string;
  readonly instance: string;
  readonly hostname: string;
  /** LMDB transaction whose state was read. */
  readonly lmdbTxnId: bigint;
  readonly timestampNs: TimestampNs;
  readonly databaseName: string;
  readonly fromLmdbTxnId: bigint;
  /** Extension: run that wrote the object. */
  readonly run?: string | undefined;
  /** Extension: number in the run's stream. */
  readonly seq?: bigint | undefined;
  /** Extension: what the state covers. Full snapshots and bases have it, deltas never. */
  readonly vector?: VersionVector | undefined;
  /**
   * Extension of full snapshots: tombstones may be missing of deletions that a host has not seen whose last complete
   * sync is older than this.
   */
  readonly rejoinBeforeNs?: TimestampNs | undefined;
  /** Extension: program and version, for people. */
  readonly writer?: string | undefined;
};

/** Meta of an object that has none, or has not shown it yet. */
export const EMPTY_META: SnapshotMeta = {
  generationId: '',
  instance: '',
  hostname: '',
  lmdbTxnId: 0n,
  timestampNs: 0n,
  databaseName: '',
  fromLmdbTxnId: 0n,
};

/** The two version numbers at the head of a snapshot; 0 is absent. */
export type SnapshotVersions = { readonly formatVersion: number; readonly compatVersion: number };

/** What comes before the entries of a DBI. */
export type DbiHeader = {
  /** One character per byte (latin1), as LMDB's root database holds it: any bytes survive. */
  readonly name: string;
  /** The DBI's persistent LMDB flags. */
  readonly flags: number;
  /** Empty, or how keys and values were changed to fit (`dupsort_hack_v1`). */
  readonly transform: string;
};

/**
 * Borrowed view of one entry: valid only during the call. One object, reused for every entry.
 * The time is split: comparing bigints costs 74 ns, bytes one by one 20 ns, two uint32 less (Node 20).
 */
export interface EntryView {
  buffer: Uint8Array;
  keyStart: number;
  keyEnd: number;
  /** The application value, without a value header, as received: a deleted entry may still have one. */
  valueStart: number;
  valueEnd: number;
  /** Upper and lower half of the timestamp in nanoseconds, unsigned. */
  timeHi: number;
  timeLo: number;
  /** Masked with SYNC_FLAGS_MASK. */
  flags: number;
}

/** A plain entry, for small callers and tests. */
export type Entry = {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly timestampNs: TimestampNs;
  readonly deleted: boolean;
};

/** An {@link EntryView} of nothing, to be filled in entry by entry. */
export function newView(): EntryView {
  return {
    buffer: Buffer.alloc(0),
    keyStart: 0,
    keyEnd: 0,
    valueStart: 0,
    valueEnd: 0,
    timeHi: 0,
    timeLo: 0,
    flags: 0,
  };
}

/** An {@link EntryView} of plain values, in a buffer of its own. */
export function entryView(entry: Entry): EntryView {
  const { key, value, timestampNs, deleted } = entry;
  const buffer = new Uint8Array(key.length + value.length);
  buffer.set(key, 0);
  buffer.set(value, key.length);
  return {
    buffer,
    keyStart: 0,
    keyEnd: key.length,
    valueStart: key.length,
    valueEnd: buffer.length,
    timeHi: Number(timestampNs >> 32n),
    timeLo: Number(timestampNs & 0xffff_ffffn),
    flags: deleted ? FLAG_DELETED : 0,
  };
}

/** The plain values of an {@link EntryView}, copied: they stay valid. */
export function entryOf(view: EntryView): Entry {
  return {
    key: view.buffer.slice(view.keyStart, view.keyEnd),
    value: view.buffer.slice(view.valueStart, view.valueEnd),
    timestampNs: entryTimestampNs(view),
    deleted: (view.flags & FLAG_DELETED) !== 0,
  };
}

/** The timestamp of an {@link EntryView}. */
export function entryTimestampNs(view: EntryView): TimestampNs {
  return (BigInt(view.timeHi) << 32n) | BigInt(view.timeLo);
}
