import { DbiParser } from './dbi-parser.ts';
import type { TooLargeEntry } from './entry-parser.ts';
import { SyncError } from './errors.ts';
import { gunzip, type GunzipLimits } from './gunzip.ts';
import { HELD_DBI_BYTES, MAX_ENTRY_BYTES, MAX_HEAD_BYTES, MAX_META_BYTES } from './limits.ts';
import {
  ByteCursor,
  WIRE_BYTES,
  WIRE_FIXED32,
  WIRE_FIXED64,
  WIRE_VARINT,
  corrupt,
  fieldNumber,
  requireWireType,
} from './protobuf.ts';
import {
  EMPTY_META,
  FIRST_FORMAT_WITH_FLAGS,
  MAX_COMPAT_VERSION,
  type DbiHeader,
  type EntryView,
  type SnapshotMeta,
  type SnapshotVersions,
} from './snapshot.ts';
import { decodeMeta } from './snapshot-meta.ts';
import { Window } from './window.ts';

/** Receives what a {@link SnapshotReader} finds. What it throws ends the reading. */
export interface SnapshotSink {
  /** Once, before everything else; an empty Meta and zeros if the object shows none before its first DBI. */
  onMeta(meta: SnapshotMeta, versions: SnapshotVersions): void;
  /** Before the entries of each DBI message. A DBI may come in several messages. */
  onDbi(dbi: DbiHeader): void;
  /** The view is valid only during the call. */
  onEntry(entry: EntryView): void;
  onDbiEnd(): void;
  /** In place of onEntry, for an entry above the limit, which is not held. A sink without this method refuses the object. */
  onTooLarge?(entry: TooLargeEntry): void;
  /**
   * Flags or transform turn out differently after entries were given out: a DBI message above HELD_DBI_BYTES from a writer
   * that puts them behind the entries. Called before onDbiEnd. A sink without this method refuses such an object.
   */
  onLateDbiHeader?(dbi: DbiHeader): void;
}

/** Bounds of a {@link SnapshotReader}; the defaults are in limits.ts. */
export type ReaderLimits = {
  readonly entryBytes?: number | undefined;
  readonly metaBytes?: number | undefined;
  readonly heldDbiBytes?: number | undefined;
};

const FIELD_FORMAT_VERSION = 1;
const FIELD_META = 2;
const FIELD_DATABASES = 3;
const FIELD_COMPAT_VERSION = 4;
const MAX_UINT32 = 0xffff_ffff;
/** What a kept message costs beyond its bytes: millions of tiny ones must not add up unseen. */
const EARLY_OVERHEAD_BYTES = 256;

/** The field has not arrived far enough. */
const MORE = -1;

/**
 * Parses a snapshot from decompressed bytes, pushed in chunks of any size, in one pass.
 *
 * Memory is bounded by the limits: the window holds one entry, one Meta or one DBI message of at most HELD_DBI_BYTES, and
 * grows with the bytes that arrived, not with the length that a field claims. Unknown fields are passed over unheld.
 *
 * Errors: SNAPSHOT_CORRUPT (damaged or cut off), SNAPSHOT_INCOMPATIBLE (versions), SNAPSHOT_REJECTED (an entry without a
 * key). After an error the reader must not be used again. Keys may be longer than an LMDB takes: that is the sink's to ask.
 *
 * Source: PowerDNS/lightningstream, `snapshot/snapshot.go`, `dbi.go`, `kv.go`; docs/format.md, sections 3 to 6.
 */
export class SnapshotReader {
  readonly #sink: SnapshotSink;
  readonly #metaBytes: number;
  readonly #heldDbiBytes: number;
  readonly #window = new Window();
  readonly #dbis: DbiParser;
  readonly #cursor = new ByteCursor(new Uint8Array(0));
  /** DBI messages that came before the format version. */
  readonly #early: Uint8Array[] = [];
  #earlyBytes = 0;
  /** Bytes of an unknown field still to be passed over. */
  #skip = 0;
  #meta: SnapshotMeta = EMPTY_META;
  #metaGiven = false;
  #formatVersion = 0;
  #compatVersion = 0;

  constructor(sink: SnapshotSink, limits: ReaderLimits = {}) {
    this.#sink = sink;
    this.#metaBytes = limits.metaBytes ?? MAX_META_BYTES;
    this.#heldDbiBytes = limits.heldDbiBytes ?? HELD_DBI_BYTES;
    this.#dbis = new DbiParser(sink, limits.entryBytes ?? MAX_ENTRY_BYTES);
  }

  /** Parses as far as the bytes go. The chunk is borrowed until the call returns. */
  push(chunk: Uint8Array): void {
    const window = this.#window;
    window.add(chunk);
    window.consume(this.#parse(window.buffer, window.start, window.end));
    window.wanted = this.#dbis.wanted;
  }

  /** The bytes are at their end. */
  end(): void {
    if (this.#window.length > 0 || this.#skip > 0 || this.#dbis.streaming) {
      throw corrupt('the snapshot is cut off');
    }
    if (this.#early.length > 0) {
      this.#beginEntries();
    } else {
      this.#giveMeta();
    }
  }

  #parse(buffer: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end) {
      if (this.#skip > 0) {
        const passed = Math.min(this.#skip, end - at);
        this.#skip -= passed;
        at += passed;
        continue;
      }
      const next = this.#dbis.streaming
        ? this.#dbis.stream(buffer, at, end)
        : this.#field(buffer, at, end);
      if (next === MORE || next === at) {
        break;
      }
      at = next;
    }
    return at;
  }

  /** One field of the Snapshot message. Returns the offset after it, or after its tag and length if it is streamed. */
  #field(buffer: Uint8Array, start: number, end: number): number {
    const cursor = this.#cursor;
    cursor.buffer = buffer;
    cursor.position = start;
    cursor.end = end;
    const tag = cursor.tryVarint();
    if (tag < 0) {
      return MORE;
    }
    const number = fieldNumber(tag);
    const wireType = tag % 8;
    if (number === FIELD_FORMAT_VERSION || number === FIELD_COMPAT_VERSION) {
      requireWireType(tag, WIRE_VARINT, 'a version of Snapshot');
    } else if (number === FIELD_META || number === FIELD_DATABASES) {
      requireWireType(tag, WIRE_BYTES, 'a message of Snapshot');
    } else if (wireType !== WIRE_VARINT && wireType !== WIRE_BYTES) {
      this.#skip = fixedLength(wireType);
      return cursor.position;
    }
    const value = cursor.tryVarint();
    if (value < 0) {
      return MORE;
    }
    switch (number) {
      case FIELD_FORMAT_VERSION:
      case FIELD_COMPAT_VERSION:
        this.#version(number, value);
        return cursor.position;
      case FIELD_META:
        return this.#metaField(cursor, value);
      case FIELD_DATABASES:
        return this.#dbiField(cursor, value);
      default:
        this.#skip = wireType === WIRE_BYTES ? value : 0;
        return cursor.position;
    }
  }

  #version(number: number, value: number): void {
    if (value > MAX_UINT32) {
      throw corrupt(`version ${value} is not a 32-bit number`);
    }
    if (number === FIELD_FORMAT_VERSION) {
      if (this.#metaGiven && value !== this.#formatVersion) {
        throw corrupt('the format version changes after the first DBI');
      }
      this.#formatVersion = value;
      return;
    }
    this.#compatVersion = value;
    if (this.#metaGiven) {
      this.#requireVersions();
    }
  }

  #metaField(cursor: ByteCursor, length: number): number {
    if (length > this.#metaBytes) {
      throw corrupt(`Meta has ${length} bytes, at most ${this.#metaBytes} are allowed`);
    }
    const next = cursor.position + length;
    if (next > cursor.end) {
      return MORE;
    }
    // A Meta behind a DBI is checked and otherwise ignored: nothing in it influences the merge.
    this.#meta = decodeMeta(cursor.buffer.subarray(cursor.position, next), this.#meta);
    return next;
  }

  #dbiField(cursor: ByteCursor, length: number): number {
    const body = cursor.position;
    if (length > this.#heldDbiBytes) {
      this.#beginEntries();
      this.#dbis.begin(length);
      return body;
    }
    const next = body + length;
    if (next > cursor.end) {
      return MORE;
    }
    if (this.#formatVersion > 0) {
      this.#beginEntries();
      this.#dbis.whole(cursor.buffer, body, next);
      return next;
    }
    // Without the format version it is not known whether an empty value means deleted.
    this.#earlyBytes += length + EARLY_OVERHEAD_BYTES;
    if (this.#earlyBytes > this.#heldDbiBytes) {
      this.#requireVersions();
    }
    this.#early.push(cursor.buffer.slice(body, next));
    return next;
  }

  /** The head is complete as far as entries need it: it is given out, and then what had to wait for it. */
  #beginEntries(): void {
    if (!this.#metaGiven) {
      this.#requireVersions();
      this.#dbis.emptyMeansDeleted = this.#formatVersion < FIRST_FORMAT_WITH_FLAGS;
      this.#giveMeta();
    }
    for (const message of this.#early.splice(0)) {
      this.#dbis.whole(message, 0, message.length);
    }
  }

  #giveMeta(): void {
    if (!this.#metaGiven) {
      this.#metaGiven = true;
      const formatVersion = this.#formatVersion;
      this.#sink.onMeta(this.#meta, { formatVersion, compatVersion: this.#compatVersion });
    }
  }

  /** As upstream: asked only where there is a DBI, so an empty snapshot passes. */
  #requireVersions(): void {
    if (this.#formatVersion === 0) {
      throw new SyncError('SNAPSHOT_INCOMPATIBLE', 'the snapshot has no format version', {
        hint: 'Remove the object: no release ever wrote such a one.',
      });
    }
    if (this.#compatVersion > MAX_COMPAT_VERSION) {
      throw new SyncError(
        'SNAPSHOT_INCOMPATIBLE',
        `the snapshot needs a reader of format ${this.#compatVersion}, this one reads up to ${MAX_COMPAT_VERSION}`,
        { hint: 'Upgrade this agent before the instance that wrote the object.' },
      );
    }
  }
}

function fixedLength(wireType: number): number {
  if (wireType === WIRE_FIXED64) {
    return 8;
  }
  if (wireType === WIRE_FIXED32) {
    return 4;
  }
  throw corrupt(`wire type ${wireType} is not allowed`);
}

/** Options of {@link readSnapshot}. */
export type ReadSnapshotOptions = {
  readonly signal?: AbortSignal | undefined;
  readonly limits?: (ReaderLimits & GunzipLimits) | undefined;
};

/**
 * Reads a whole object from its compressed bytes into a sink, with backpressure, giving the event loop a turn per
 * 256 KiB. Several gzip members in a row are one stream, as upstream reads them.
 *
 * Errors: those of {@link SnapshotReader}; SNAPSHOT_CORRUPT for gzip damage (bad checksum, cut off, bytes behind the last member)
 * and for what grows beyond the limits; what the source or the sink throws; AbortError.
 */
export async function readSnapshot(
  chunks: AsyncIterable<Uint8Array>,
  sink: SnapshotSink,
  options: ReadSnapshotOptions = {},
): Promise<void> {
  const reader = new SnapshotReader(sink, options.limits);
  await gunzip(chunks, (chunk) => reader.push(chunk), options);
  reader.end();
}

/** What {@link readSnapshotHead} gives. */
export type SnapshotHead = SnapshotVersions & { readonly meta: SnapshotMeta };

/**
 * The head of an object, from only as many compressed bytes as it takes; the input may be cut off behind it (a ranged GET).
 * The head ends where the first DBI begins.
 *
 * Errors: as {@link readSnapshot}; SNAPSHOT_CORRUPT too where the bytes end before a Meta or a DBI.
 */
export async function readSnapshotHead(chunks: AsyncIterable<Uint8Array>): Promise<SnapshotHead> {
  let head: SnapshotHead | undefined;
  let atEnd = false;
  const found = new Error('head complete');
  const reader = new SnapshotReader(
    {
      onMeta(meta, versions) {
        head = { meta, ...versions };
        // What follows is not looked at: it may be cut off.
        throw found;
      },
      onDbi: () => {},
      onEntry: () => {},
      onDbiEnd: () => {},
    },
    // Nothing is held: the head is given out at the tag and length of the first DBI.
    { heldDbiBytes: -1 },
  );
  try {
    await gunzip(chunks, (chunk) => reader.push(chunk), {
      limits: { decompressedBytes: MAX_HEAD_BYTES },
      mayBeCutOff: true,
    });
    atEnd = true;
    reader.end();
  } catch (error) {
    if (error !== found) {
      throw error;
    }
  }
  // Without a DBI and without a Meta it is not known whether the head is complete or its bytes are cut off.
  if (head === undefined || (atEnd && head.meta === EMPTY_META)) {
    throw corrupt('the bytes end before the head of the snapshot does');
  }
  return head;
}
