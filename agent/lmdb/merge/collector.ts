import { HighestTime, isAbove } from '../changes/highest-time.ts';
import { fitsKeyFlags, keyOrderOf } from '../../../protocol/key-order.ts';
import { incomingWins } from '../../../protocol/register.ts';
import { requireSchemaMode, type SchemaMode } from '../../../protocol/snapshot-meta.ts';
import type { SnapshotSink } from '../../../protocol/snapshot-reader.ts';
import type { TooLargeEntry } from '../../../protocol/entry-parser.ts';
import type {
  DbiHeader,
  EntryView,
  SnapshotMeta,
  SnapshotVersions,
} from '../../../protocol/snapshot.ts';
import { VALUE_HEADER_BYTES, isValidValue } from '../../../protocol/value-header.ts';
import { describeEntry, type LeftOut } from '../changes/left-out.ts';
import type { LeftOutEntries } from '../local-database.ts';
import { noteInvalid } from '../changes/stored-value.ts';
import type { KeyHashes } from '../key-hashes.ts';
import type { DataFile, DbRecord } from '../pages/data-file.ts';
import { PageCursor } from '../pages/cursor.ts';
import { incomingSchemaVersion, POWERDNS_DBI } from '../schema/powerdns-schema.ts';
import type { HeldSchema } from '../sync-state-text.ts';
import { PackedEntries, type PackedPlace } from '../packed-entries.ts';
import { isKeyBelow, nativeValueBytes, packEntry } from './pack-entry.ts';
import { entryBytes } from './room.ts';
import { tooManyDbis, type FindTarget, type MergeTarget } from '../schema/merge-target.ts';

export type CollectorOptions = {
  readonly file: DataFile;
  /** The local DBIs at the root compared against, which stays pinned. Asked anew after every `flush`. */
  readonly dbis: () => ReadonlyMap<string, DbRecord>;
  readonly target: FindTarget;
  /** DBIs of the application that are left alone: entries for them are left out. */
  readonly refused: { has(dbiName: string): boolean };
  readonly schemaMode: SchemaMode;
  /** A higher schema version of PowerDNS is held back; undefined: none is. */
  readonly schemaVersionMax: number | undefined;
  readonly headerPadding: boolean;
  readonly futureFromNs: bigint;
  readonly invalid: Set<string>;
  /** Local entries that no object can carry. */
  readonly leftOut: LeftOut;
  /** DBIs that this LMDB may have open: an object that misses more of them is refused. */
  readonly maxDbs: number;
  /** Takes the keys of all entries, those too that lose. */
  readonly seenKeys?: KeyHashes | undefined;
  /** When the collected writes exceed this many bytes, `flush` is called. */
  readonly maxBytes: number;
  /**
   * Takes over what was collected (in slices) and adds `growthBytes` to the LMDB, or makes the collector go on only
   * checking.
   */
  readonly flush: (writes: PackedEntries, growthBytes: number) => 'continue' | 'check only';
};

/** Private DBIs that are told by name. */
const SKIPPED_DBIS_MAX = 100;

/**
 * Takes the entries of one object and compares each with the local one; what wins is collected as a write. Nothing is
 * applied here. Entries of a DBI come in its key order from every known writer, so that the comparison is one walk
 * over both; any other order is only slower.
 */
export class MergeCollector implements SnapshotSink {
  entries = 0;
  futureEntries = 0;
  /** Native values; the transaction's id in their headers is filled in when they are put. */
  writes = newWrites();
  /** DBIs to be created, with their flags, whether they have entries or not. */
  readonly missingDbis = new Map<string, number>();
  readonly skippedDbis = new Set<string>();
  /** A schema version that would have won here and was left out. */
  heldSchema: HeldSchema | undefined;
  /** What all writes add to the trees at least, less what they replace; and the DBIs that they go to. */
  growthBytes = 0;
  readonly grownDbis = new Set<string>();
  #lastGrown = '';
  /** What entries would add that were only checked, if every one of them were new. */
  uncomparedBytes = 0;
  readonly refusedDbis = new Set<string>();
  readonly #highest = new HighestTime();
  #leftOut: LeftOutEntries | undefined;
  readonly #options: CollectorOptions;
  readonly #futureHi: number;
  readonly #futureLo: number;
  #dbi:
    | {
        name: string;
        /** As the application calls it. */
        shownName: string;
        /** MDB_INTEGERKEY or nothing. */
        flags: number;
        isPowerdns: boolean;
        check: MergeTarget['check'];
        cursor: PageCursor | undefined;
      }
    | undefined;
  #flushedGrowthBytes = 0;
  /** Size of the local value that the entry just compared replaces; -1: none. */
  #replacedBytes = -1;
  #checkOnly = false;
  /** Where in `writes.row` the DBI's last entry is; -1: it has none. Keys that are not above its own may be there already. */
  #lastAt = -1;
  /** No local key is above that of the last entry. */
  #isBehindLocal = false;
  /** No local key is above that of the entry just compared, nor the same; and it is above that of the last entry. */
  #foundNone = false;
  #ascends = false;
  /** The order of the current DBI's keys. */
  #order = keyOrderOf(0);
  /** Where in `writes` a key is, once the order of the current DBI turned out to be another than ascending. */
  #collected: Map<string, PackedPlace> | undefined;
  readonly #seen = new Set<string>();
  #formatVersion = 0;

  constructor(options: CollectorOptions) {
    this.#options = options;
    this.#futureHi = Number(options.futureFromNs >> 32n);
    this.#futureLo = Number(options.futureFromNs & 0xffff_ffffn);
  }

  /** The highest time of any entry of the object. */
  get maxTsNs(): bigint {
    return this.#highest.ns;
  }

  /** Entries of the object that this LMDB cannot take, or could not send on. */
  get leftOut(): LeftOutEntries | undefined {
    return this.#leftOut;
  }

  onMeta(meta: SnapshotMeta, { formatVersion }: SnapshotVersions): void {
    requireSchemaMode(meta.schemaMode, this.#options.schemaMode);
    this.#formatVersion = formatVersion;
  }

  onDbi(header: DbiHeader): void {
    const dbis = this.#options.dbis();
    const target = this.#options.target(header, { formatVersion: this.#formatVersion, dbis });
    this.#beginOrder(target?.name ?? header.name);
    const isRefused = this.#options.refused.has(header.name);
    if (target === undefined || isRefused) {
      const names = isRefused ? this.refusedDbis : this.skippedDbis;
      if (names.size < SKIPPED_DBIS_MAX) {
        names.add(header.name);
      }
      this.#dbi = undefined;
      return;
    }
    for (const [missing, flags] of target.missing) {
      this.missingDbis.set(missing, flags);
    }
    if (this.missingDbis.size > this.#options.maxDbs) {
      throw tooManyDbis(this.#options.maxDbs);
    }
    const local = dbis.get(target.name);
    this.#order = keyOrderOf(local?.flags ?? target.flags);
    this.#dbi = {
      name: target.name,
      isPowerdns: header.name === POWERDNS_DBI,
      shownName: header.name,
      flags: target.flags,
      check: target.check,
      cursor: local === undefined ? undefined : new PageCursor(this.#options.file, local),
    };
  }

  onEntry(entry: EntryView): void {
    const dbi = this.#dbi;
    if (dbi === undefined) {
      return;
    }
    const keyBytes = entry.keyEnd - entry.keyStart;
    const valueBytes = nativeValueBytes(entry, this.#options.headerPadding);
    const fits = fitsKeyFlags(dbi.flags, keyBytes);
    if (!fits || this.#options.leftOut.isTooLarge(keyBytes, valueBytes)) {
      this.#leaveOut(entry.buffer.subarray(entry.keyStart, entry.keyEnd), valueBytes);
      return;
    }
    this.entries += 1;
    const { timeHi, timeLo } = entry;
    this.#highest.note(timeHi, timeLo);
    if (isAbove(timeHi, timeLo, this.#futureHi, this.#futureLo)) {
      this.futureEntries += 1;
    }
    dbi.check?.(entry, dbi.name);
    this.#options.seenKeys?.add(dbi.name, entry.buffer, entry.keyStart, entry.keyEnd);
    if (this.#checkOnly) {
      const valueBytes = VALUE_HEADER_BYTES + entry.valueEnd - entry.valueStart;
      const { pageSize } = this.#options.file;
      this.uncomparedBytes += entryBytes(entry.keyEnd - entry.keyStart, valueBytes, pageSize);
      return;
    }
    if (!this.#winsLocally(dbi, entry)) {
      return;
    }
    if (dbi.isPowerdns && this.#isHeldBack(entry)) {
      return;
    }
    this.#collect(dbi.name, entry);
  }

  onTooLarge({ key, bytes }: TooLargeEntry): void {
    if (this.#dbi !== undefined) {
      this.#leaveOut(key, bytes);
    }
  }

  onDbiEnd(): void {}

  #isHeldBack(entry: EntryView): boolean {
    const { schemaVersionMax } = this.#options;
    const incoming = schemaVersionMax === undefined ? undefined : incomingSchemaVersion(entry);
    if (incoming === undefined || incoming.version <= (schemaVersionMax ?? 0)) {
      return false;
    }
    this.heldSchema = incoming;
    return true;
  }

  #leaveOut(key: Uint8Array, valueBytes: number): void {
    const { entries = 0, first = describeEntry(this.#dbi?.shownName ?? '', key, valueBytes) } =
      this.#leftOut ?? {};
    this.#leftOut = { entries: entries + 1, first };
  }

  #winsLocally(dbi: { name: string; cursor: PageCursor | undefined }, entry: EntryView): boolean {
    const { cursor } = dbi;
    const { buffer, keyStart, keyEnd } = entry;
    this.#replacedBytes = -1;
    // While an LMDB is filled there is nothing to be compared with: looking for it took as long as all the rest.
    this.#ascends = this.#isBehindLocal && this.#lastAt >= 0 && this.#isAboveLast(entry);
    this.#foundNone =
      this.#ascends || cursor === undefined || !cursor.seek(buffer, keyStart, keyEnd);
    if (this.#foundNone || cursor === undefined) {
      return true;
    }
    if (!cursor.isExact && !isKeyOf(cursor, entry)) {
      return true;
    }
    const { valueStart, valueEnd } = cursor;
    this.#replacedBytes = valueEnd - valueStart;
    if (this.#options.leftOut.isTooLarge(0, valueEnd - valueStart)) {
      // The application's own, which nobody else can have: it is left alone.
      return false;
    }
    const { valueBuffer } = cursor;
    if (valueStart !== valueEnd && !isValidValue(valueBuffer, valueStart, valueEnd)) {
      // The application's own broken value is reported and left alone.
      noteInvalid(
        this.#options.invalid,
        dbi.name,
        cursor.keyBuffer.toString('latin1', cursor.keyStart, cursor.keyEnd),
      );
      return false;
    }
    return incomingWins(valueBuffer, valueStart, valueEnd, entry);
  }

  #collect(dbiName: string, entry: EntryView): void {
    const earlier = this.#earlierWrite(dbiName, entry);
    if (earlier !== undefined) {
      const stored = earlier.row.value(earlier.at);
      if (!incomingWins(stored, 0, stored.length, entry)) {
        return;
      }
      this.writes.leaveOut(earlier);
    }
    const at = packEntry(this.writes, dbiName, entry, this.#options.headerPadding);
    this.#lastAt = at;
    this.#isBehindLocal = this.#foundNone;
    if (this.#collected !== undefined) {
      const row = this.writes.row!;
      this.#collected.set(row.key(at).toString('latin1'), { row, at });
    }
    if (earlier === undefined) {
      this.#countGrowth(dbiName, entry);
    }
    if (this.writes.bytes <= this.#options.maxBytes) {
      return;
    }
    const { writes } = this;
    this.writes = newWrites();
    // What was taken over is in the LMDB by the time the next entry is compared.
    this.#collected = undefined;
    this.#lastAt = -1;
    this.#seen.clear();
    if (this.#options.flush(writes, this.setGrowthBytes) === 'check only') {
      this.#checkOnly = true;
      return;
    }
    this.#flushedGrowthBytes = this.growthBytes;
    this.#reopenCursor();
  }

  /** What the writes add that were collected since the last flush. */
  get setGrowthBytes(): number {
    return this.growthBytes - this.#flushedGrowthBytes;
  }

  #countGrowth(dbiName: string, entry: EntryView): void {
    if (this.#lastGrown !== dbiName) {
      this.#lastGrown = dbiName;
      this.grownDbis.add(dbiName);
    }
    const { pageSize } = this.#options.file;
    const keyBytes = entry.keyEnd - entry.keyStart;
    const valueBytes = nativeValueBytes(entry, this.#options.headerPadding);
    this.growthBytes += entryBytes(keyBytes, valueBytes, pageSize);
    if (this.#replacedBytes >= 0) {
      // A node has an even size: the one that goes may have been a byte larger.
      this.growthBytes -= entryBytes(keyBytes, this.#replacedBytes, pageSize) + 1;
    }
  }

  /** A large DBI comes as several messages whose keys go on ascending; the same DBI once more, later, may not. */
  #beginOrder(name: string): void {
    if (this.#dbi?.name === name) {
      return;
    }
    this.#lastAt = -1;
    this.#collected = this.#seen.has(name) ? this.#indexWrites(name) : undefined;
    this.#seen.add(name);
  }

  #indexWrites(dbiName: string): Map<string, PackedPlace> {
    const index = new Map<string, PackedPlace>();
    for (const row of this.writes.rows) {
      for (let at = row.start; row.dbiName === dbiName && at < row.end; at = row.next(at)) {
        index.set(row.key(at).toString('latin1'), { row, at });
      }
    }
    return index;
  }

  /** The write of the same key in this object. Costs nothing while keys ascend. */
  #earlierWrite(dbiName: string, entry: EntryView): PackedPlace | undefined {
    if (this.#collected === undefined) {
      if (this.#ascends || this.#lastAt < 0 || this.#isAboveLast(entry)) {
        return undefined;
      }
      this.#collected = this.#indexWrites(dbiName);
    }
    const { buffer, keyStart, keyEnd } = entry;
    return this.#collected.get(Buffer.from(buffer.subarray(keyStart, keyEnd)).toString('latin1'));
  }

  /** True if the entry's key is above that of the last one collected. */
  #isAboveLast(entry: EntryView): boolean {
    const { row } = this.writes;
    return row !== undefined && isKeyBelow(row, this.#lastAt, entry, this.#order);
  }

  /** After a slice was applied, the local side is that of the new root. */
  #reopenCursor(): void {
    const dbi = this.#dbi;
    if (dbi === undefined) {
      return;
    }
    const local = this.#options.dbis().get(dbi.name);
    this.#order = keyOrderOf(local?.flags ?? 0);
    dbi.cursor = local === undefined ? undefined : new PageCursor(this.#options.file, local);
  }
}

function newWrites(): PackedEntries {
  return new PackedEntries({ hasHeaders: true });
}

/** True if the cursor stands at the entry's key. */
function isKeyOf(cursor: PageCursor, { buffer, keyStart, keyEnd }: EntryView): boolean {
  const length = keyEnd - keyStart;
  if (cursor.keyEnd - cursor.keyStart !== length) {
    return false;
  }
  const localKey = cursor.keyBuffer;
  for (let i = 0, at = cursor.keyStart; i < length; i += 1, at += 1) {
    if (localKey[at] !== buffer[keyStart + i]) {
      return false;
    }
  }
  return true;
}
