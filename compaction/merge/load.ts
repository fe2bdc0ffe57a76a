import { SyncError } from '../../protocol/errors.ts';
import { gunzip } from '../../protocol/gunzip.ts';
import {
  SnapshotReader,
  type ReaderLimits,
  type SnapshotSink,
} from '../../protocol/snapshot-reader.ts';
import {
  EMPTY_META,
  type DbiHeader,
  type EntryView,
  type SnapshotMeta,
  type SnapshotVersions,
  newView,
} from '../../protocol/snapshot.ts';
import type { SnapshotSource } from './cursor.ts';
import { DbiTable } from './dbi-table.ts';
import { isPrivateDbi } from '../../protocol/dbi-name.ts';
import { fitsKeyFlags } from '../../protocol/key-order.ts';
import { EntryBatch } from './entry-batch.ts';
import { CURSOR_CHUNK_BYTES, CURSOR_HELD_BYTES } from './limits.ts';
import type { Sorter } from './sorter.ts';

/** What reading an object whole has shown. */
export type CheckedObject = {
  readonly meta: SnapshotMeta;
  /** Its DBIs and keys ascend, so that it can be merged as it is. */
  readonly sorted: boolean;
  /** Its DBIs. */
  readonly dbis: DbiTable;
};

/** The first format whose DBI flags are those of the application's own DBI. Source: docs/format.md, 5 and 6. */
const FIRST_FORMAT_WITH_OWN_FLAGS = 3;

/**
 * Reads a snapshot whole and checks that it may go into a base: bytes, lengths, DBI headers. Nothing is changed.
 *
 * Errors: SNAPSHOT_CORRUPT, SNAPSHOT_INCOMPATIBLE (also formats before 3: what their flags mean only the reading agent
 * knows), SNAPSHOT_REJECTED.
 */
export async function checkSnapshot(
  source: SnapshotSource,
  options: {
    readonly table: DbiTable;
    readonly checkTime: () => void;
    readonly entryBytesMax?: number | undefined;
  },
): Promise<CheckedObject> {
  const sink = new CheckingSink(options.table);
  const entryBytes = options.entryBytesMax;
  try {
    const limits = { entryBytes, heldDbiBytes: CURSOR_HELD_BYTES };
    await read(source, sink, { ...options, limits });
    return { meta: sink.meta, sorted: sink.sorted, dbis: sink.dbis };
  } catch (error) {
    if (!(error instanceof SyncError) || error.code !== 'SNAPSHOT_CORRUPT') {
      throw error;
    }
    // An old writer's object, its DBI headers behind the entries: readable when whole DBI messages are held.
    const again = new CheckingSink(options.table);
    await read(source, again, { ...options, limits: { entryBytes } });
    return { meta: again.meta, sorted: false, dbis: again.dbis };
  }
}

/** Copies the entries of a checked snapshot into the sorter. Errors: as {@link checkSnapshot}. */
export async function loadInto(
  sorter: Sorter,
  source: SnapshotSource,
  options: { readonly table: DbiTable; readonly checkTime: () => void },
): Promise<void> {
  let dbi = -1;
  const sink: SnapshotSink = {
    onMeta() {},
    onDbi(header) {
      dbi = isPrivateDbi(header.name) ? -1 : options.table.idOf(header, source.existing);
    },
    onEntry(entry) {
      if (dbi >= 0) {
        sorter.add(dbi, entry);
      }
    },
    onDbiEnd() {},
  };
  await read(source, sink, { ...options, between: () => sorter.relieve() });
  await sorter.relieve();
}

/** Registers the DBIs of a published snapshot, so that what does not fit them is found out early. */
export async function registerDbis(
  source: SnapshotSource,
  options: { readonly table: DbiTable; readonly checkTime: () => void },
): Promise<void> {
  const sink: SnapshotSink = {
    onMeta() {},
    onDbi(header) {
      if (!isPrivateDbi(header.name)) {
        options.table.idOf(header, true);
      }
    },
    onEntry() {},
    onDbiEnd() {},
  };
  await read(source, sink, options);
}

type ReadOptions = {
  readonly checkTime: () => void;
  readonly limits?: ReaderLimits | undefined;
  /** Awaited between blocks of input. */
  readonly between?: (() => Promise<void>) | undefined;
};

async function read(
  source: SnapshotSource,
  sink: SnapshotSink,
  options: ReadOptions,
): Promise<void> {
  const reader = new SnapshotReader(sink, options.limits);
  await gunzip(paced(source.open(), options), (chunk) => reader.push(chunk));
  reader.end();
}

/** Small pieces, so that little is decompressed between two pauses. */
async function* paced(
  chunks: AsyncIterable<Uint8Array>,
  options: ReadOptions,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += CURSOR_CHUNK_BYTES / 4) {
      options.checkTime();
      await options.between?.();
      yield chunk.subarray(at, at + CURSOR_CHUNK_BYTES / 4);
    }
  }
}

/** Accepts what a base can hold, and notes whether it is in order. */
class CheckingSink implements SnapshotSink {
  meta: SnapshotMeta = EMPTY_META;
  sorted = true;
  readonly #table: DbiTable;
  /** The headers of this object alone: it must not contradict itself either. */
  readonly dbis = new DbiTable();
  /** The key of an entry, without its value. */
  readonly #key = newView();
  #last = new EntryBatch();
  #spare = new EntryBatch();
  #dbi = -1;
  #flags = 0;

  constructor(table: DbiTable) {
    this.#table = table;
  }

  onMeta(meta: SnapshotMeta, versions: SnapshotVersions): void {
    this.meta = meta;
    if (versions.formatVersion < FIRST_FORMAT_WITH_OWN_FLAGS) {
      throw new SyncError(
        'SNAPSHOT_INCOMPATIBLE',
        `format ${versions.formatVersion} is not compacted, only ${FIRST_FORMAT_WITH_OWN_FLAGS} and newer`,
        { hint: 'Upgrade the instance that wrote the object.' },
      );
    }
  }

  onDbi(header: DbiHeader): void {
    if (isPrivateDbi(header.name)) {
      this.#dbi = -1;
      return;
    }
    this.#table.check(header);
    this.#dbi = this.dbis.idOf(header);
    this.#flags = header.flags;
  }

  onEntry(entry: EntryView): void {
    if (this.#dbi < 0) {
      return;
    }
    const keyBytes = entry.keyEnd - entry.keyStart;
    if (!fitsKeyFlags(this.#flags, keyBytes)) {
      throw new SyncError('SNAPSHOT_REJECTED', `a DBI of integers has a key of ${keyBytes} bytes`, {
        hint: 'Find out what wrote the object, and remove it.',
      });
    }
    if (!this.sorted) {
      return;
    }
    this.#key.buffer = entry.buffer;
    this.#key.keyStart = entry.keyStart;
    this.#key.keyEnd = entry.keyEnd;
    this.#spare.clear();
    this.#spare.append(this.#dbi, this.#key);
    this.sorted =
      this.#last.count === 0 || this.#spare.comparePlaces(0, this.#last, 0, this.dbis) > 0;
    [this.#last, this.#spare] = [this.#spare, this.#last];
  }

  onDbiEnd(): void {}
}
