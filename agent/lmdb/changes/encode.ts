import { gzipSync } from 'node:zlib';
import { HighestTime } from './highest-time.ts';
import type { TxnRanges } from '../txn-ranges.ts';
import { GzipWriter } from '../../../protocol/gzip.ts';
import { txnIdAt } from '../../../protocol/value-header.ts';
import { SnapshotWriter } from '../../../protocol/snapshot-writer.ts';
import { SNAPSHOT_BLOCK_BYTES } from '../../../protocol/limits.ts';
import { type EntryView, type SnapshotMeta, newView } from '../../../protocol/snapshot.ts';
import { SpoolWriter, type Spool, type SpoolOptions } from '../../spool.ts';
import type { LeftOut } from './left-out.ts';
import { noteInvalid, showValue } from './stored-value.ts';
import { keyOrderOf } from '../../../protocol/key-order.ts';
import type { KeySet } from './key-set.ts';
import type { DataFile, DbRecord } from '../pages/data-file.ts';
import { PageCursor, isAtKey } from '../pages/cursor.ts';
import type { SyncedDbis } from './synced-dbis.ts';

/** An encoded object, and its size before compression. */
export type Encoded = {
  readonly spool: Spool;
  readonly entries: number;
  readonly uncompressedBytes: number;
};

/** An encoded state, and what only a walk through all of it can tell. */
export type EncodedState = Encoded & { readonly maxTsNs: bigint };

/** Objects up to this size are compressed in one go: starting a stream costs more than they do. */
const ONE_GO_BYTES = 64 * 1024;
/** A delta is a few hundred bytes as a rule: a block of the usual mebibyte cost it 1 ms of collecting garbage. */
const DELTA_BLOCK_BYTES = 16 * 1024;
/** As upstream, which writes at the fastest level: network and readers gain little from more. */
const GZIP_LEVEL = 1;
/** Uncompressed bytes between two looks at the event loop and at how far compression has come: less than a block, so that each is handed over by itself. */
const SLICE_BYTES = 512 * 1024;

/** Thrown out of the encoding of a state: this DBI of registers is not in the order of its flags. */
export class DisorderFound extends Error {
  readonly dbiName: string;

  constructor(dbiName: string) {
    super(`DBI ${dbiName} is out of order`);
    this.dbiName = dbiName;
  }
}

/** Collects uncompressed blocks and turns them into a spool; compression runs on the thread pool. */
class GzipSpool {
  readonly #writer: SpoolWriter;
  readonly #gzip: GzipWriter;
  #blocks: Uint8Array[] = [];
  #begun = false;
  uncompressedBytes = 0;

  constructor(options: SpoolOptions) {
    const writer = new SpoolWriter(options);
    this.#writer = writer;
    this.#gzip = new GzipWriter({ level: GZIP_LEVEL, write: (chunk) => writer.write(chunk) });
  }

  readonly add = (block: Uint8Array): void => {
    this.#blocks.push(block);
    this.uncompressedBytes += block.length;
  };

  /** Hands over what was added; waits when compression is behind. */
  async flush(): Promise<void> {
    const blocks = this.#blocks;
    if (blocks.length === 0) {
      return;
    }
    this.#blocks = [];
    this.#begun = true;
    const bytes = blocks.reduce((sum, { length }) => sum + length, 0);
    if (bytes <= 2 * SNAPSHOT_BLOCK_BYTES) {
      await this.#gzip.add(blocks);
      return;
    }
    // The pieces of a large value: together they would be copied, and compressed by one thread.
    for (const block of blocks) {
      await this.#gzip.add([block]);
    }
  }

  async finish(): Promise<Spool> {
    if (!this.#begun && this.uncompressedBytes <= ONE_GO_BYTES) {
      await this.#writer.write(gzipSync(Buffer.concat(this.#blocks), { level: GZIP_LEVEL }));
      return this.#writer.finish();
    }
    await this.flush();
    await this.#gzip.finish();
    return this.#writer.finish();
  }

  async discard(): Promise<void> {
    await this.#gzip.settle();
    await this.#writer.discard();
  }
}

/**
 * Encodes the whole state that `dbis` are of, or the entries of it whose transaction `includes` accepts. It must stay
 * pinned until this resolves. Gives the event loop a turn after every mebibyte or so (about 3 ms), so that other work
 * on the same database goes on meanwhile. Rejects with {@link DisorderFound}.
 */
export async function encodeRegisters(
  file: DataFile,
  options: {
    readonly dbis: SyncedDbis;
    readonly snapshotMeta: SnapshotMeta;
    readonly spool: SpoolOptions;
    readonly includes?: (txnId: number) => boolean;
    /** Takes the keys of values without a valid header, which are left out. */
    readonly invalid: Set<string>;
    /** Takes those that no object can carry. */
    readonly leftOut: LeftOut;
  },
): Promise<EncodedState> {
  const { includes, invalid, leftOut } = options;
  const out = new GzipSpool(options.spool);
  const writer = new SnapshotWriter(out.add, { lendsValues: true });
  const view = newView();
  let entries = 0;
  let sliceEnd = SLICE_BYTES;
  const highest = new HighestTime();
  try {
    writer.begin(options.snapshotMeta);
    for (const [name, { record, header }] of options.dbis) {
      writer.beginDbi(header);
      const cursor = new PageCursor(file, record, { checksOrder: true });
      while (cursor.next()) {
        if (isTooLarge(cursor, leftOut)) {
          leftOut.note(header.name, keyText(cursor), cursor.valueEnd - cursor.valueStart);
          continue;
        }
        if (!showEntry(view, cursor)) {
          noteInvalid(invalid, name, keyText(cursor));
          continue;
        }
        highest.note(view.timeHi, view.timeLo);
        if (includes !== undefined && !includes(txnIdAt(cursor.valueBuffer, cursor.valueStart))) {
          continue;
        }
        writer.entry(view, cursor.valueBuffer);
        entries += 1;
        if (out.uncompressedBytes >= sliceEnd) {
          sliceEnd = out.uncompressedBytes + SLICE_BYTES;
          await out.flush();
          await new Promise<void>((resolve) => setImmediate(resolve));
        }
      }
      writer.endDbi();
      // Nothing has left this host yet.
      if (!cursor.isOrdered) {
        throw new DisorderFound(name);
      }
    }
    writer.end();
    const spool = await out.finish();
    return { spool, entries, uncompressedBytes: out.uncompressedBytes, maxTsNs: highest.ns };
  } catch (error) {
    await out.discard();
    throw error;
  }
}

/**
 * Encodes the values of some keys in the state that `dbis` are of. Left out: keys that are gone, values that a merge has written
 * meanwhile (`merged`), values without a valid header, and entries that no object can carry.
 */
export async function encodeKeys(
  file: DataFile,
  options: {
    readonly dbis: SyncedDbis;
    readonly keys: KeySet;
    readonly leftOut: LeftOut;
    readonly merged: TxnRanges;
    readonly snapshotMeta: SnapshotMeta;
    readonly spool: SpoolOptions;
  },
): Promise<Encoded> {
  const { leftOut } = options;
  const out = new GzipSpool(options.spool);
  const writer = new SnapshotWriter(out.add, {
    blockBytes: DELTA_BLOCK_BYTES,
    lendsValues: true,
  });
  const view = newView();
  let entries = 0;
  try {
    writer.begin(options.snapshotMeta);
    for (const [name, keys] of options.keys.dbis()) {
      const dbi = options.dbis.get(name);
      if (dbi === undefined) {
        continue;
      }
      const { record } = dbi;
      writer.beginDbi(dbi.header);
      const cursor = new PageCursor(file, record);
      for (const key of sortedKeys(keys, record)) {
        if (!cursor.seek(key, 0, key.length) || !isAtKey(cursor, key)) {
          continue;
        }
        if (isTooLarge(cursor, leftOut)) {
          leftOut.note(dbi.header.name, keyText(cursor), cursor.valueEnd - cursor.valueStart);
          continue;
        }
        if (!showEntry(view, cursor)) {
          continue;
        }
        if (options.merged.has(txnIdAt(cursor.valueBuffer, cursor.valueStart))) {
          continue;
        }
        writer.entry(view, cursor.valueBuffer);
        entries += 1;
        if (out.uncompressedBytes >= SLICE_BYTES) {
          await out.flush();
        }
      }
      writer.endDbi();
    }
    writer.end();
    return { spool: await out.finish(), entries, uncompressedBytes: out.uncompressedBytes };
  } catch (error) {
    await out.discard();
    throw error;
  }
}

function sortedKeys(keys: ReadonlySet<string>, record: DbRecord): Buffer[] {
  const compare = keyOrderOf(record.flags);
  return Array.from(keys, (key) => Buffer.from(key, 'latin1')).toSorted((a, b) =>
    compare(a, 0, a.length, b, 0, b.length),
  );
}

function isTooLarge(cursor: PageCursor, leftOut: LeftOut): boolean {
  const { keyStart, keyEnd, valueStart, valueEnd } = cursor;
  return leftOut.isTooLarge(keyEnd - keyStart, valueEnd - valueStart);
}

function keyText({ keyBuffer, keyStart, keyEnd }: PageCursor): string {
  return keyBuffer.toString('latin1', keyStart, keyEnd);
}

/** Shows the cursor's entry, its value in the cursor's buffer of values; false: it has no valid header. */
function showEntry(view: EntryView, cursor: PageCursor): boolean {
  const { valueBuffer, valueStart, valueEnd } = cursor;
  if (!showValue(view, valueBuffer, valueStart, valueEnd)) {
    return false;
  }
  // A value on overflow pages stands in another buffer than its key.
  view.buffer = cursor.keyBuffer;
  view.keyStart = cursor.keyStart;
  view.keyEnd = cursor.keyEnd;
  return true;
}
