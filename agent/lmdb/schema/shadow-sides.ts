import { SyncError } from '../../../protocol/errors.ts';
import {
  headerLengthAt,
  isDeletedAt,
  isValidValue,
  VALUE_HEADER_BYTES,
} from '../../../protocol/value-header.ts';
import { decodePair, pairValueBytes, type DecodedPair } from '../../../protocol/dupsort-hack.ts';
import type { LeftOut } from '../changes/left-out.ts';
import { isAtKey, PageCursor } from '../pages/cursor.ts';
import { listDbis, type DataFile, type DbRecord, type Meta } from '../pages/data-file.ts';
import { MDB_DUPSORT, MDB_INTEGERKEY, MDB_REVERSEDUP } from '../pages/layout.ts';
import { shadowDbiName } from '../../../protocol/dbi-name.ts';

/**
 * The flags that a shadow DBI is created with: integer keys, and nothing else. Keys that stand for pairs are no integers;
 * upstream sets the flag there as well, and then cannot sync such a DBI.
 */
export function shadowDbiFlags(mainFlags: number): number {
  return (mainFlags & MDB_DUPSORT) === 0 ? mainFlags & MDB_INTEGERKEY : 0;
}

/** The error for a DBI that only `dupsort_hack` can sync. */
export function duplicatesRefused(dbiName: string): SyncError {
  return new SyncError(
    'CONFIG_INVALID',
    `DBI ${dbiName} has duplicate values (MDB_DUPSORT), which needs dupsort_hack`,
    { hint: 'Set `dupsort_hack: true` for this database, the same on all instances.' },
  );
}

const NO_BYTES = Buffer.alloc(0);

/**
 * One of the application's DBIs and its shadow DBI, at one root. What {@link look} finds is borrowed: valid until the
 * next look. Cheapest where the keys looked at ascend.
 */
export class DbiSides {
  readonly main: DbRecord | undefined;
  readonly shadow: DbRecord | undefined;
  /** Keys of the shadow DBI stand for (key, value) pairs. */
  readonly hasPairs: boolean;

  /** The application's value, if it has one under this key. */
  hasMain = false;
  mainBuffer: Buffer = NO_BYTES;
  mainStart = 0;
  mainEnd = 0;
  /** Several of the application's pairs have this one key: they cannot be told apart, and are left alone. */
  isAmbiguous = false;
  /** No register can hold the application's entry: it is left alone, and its value is not read. */
  isTooLarge = false;
  /** The register's whole value, if there is one with a valid header. */
  hasShadow = false;
  shadowBuffer: Buffer = NO_BYTES;
  shadowStart = 0;
  shadowEnd = 0;
  /** The register holds a value, empty or not, and no deletion; it stands from `liveStart` to `shadowEnd`. */
  isLive = false;
  liveStart = 0;

  readonly #main: PageCursor | undefined;
  readonly #shadow: PageCursor | undefined;
  readonly #leftOut: LeftOut;

  constructor(
    file: DataFile,
    records: { main: DbRecord | undefined; shadow: DbRecord | undefined; leftOut: LeftOut },
  ) {
    this.#leftOut = records.leftOut;
    this.main = records.main;
    this.shadow = records.shadow;
    this.hasPairs = ((records.main?.flags ?? 0) & MDB_DUPSORT) !== 0;
    this.#main = records.main && new PageCursor(file, records.main);
    this.#shadow = records.shadow && new PageCursor(file, records.shadow);
  }

  /** Looks a key of the shadow DBI up on both sides. */
  look(key: Buffer): void {
    this.#lookShadow(key);
    this.isAmbiguous = false;
    this.isTooLarge = this.#leftOut.isTooLarge(key.length, 0);
    if (this.hasPairs) {
      this.#lookPair(decodePair(key));
    } else {
      this.#lookMain(key);
    }
  }

  /** False where the application has another value than the register of the key that was looked at. */
  get isInStep(): boolean {
    if (this.isAmbiguous || this.isTooLarge) {
      return true;
    }
    if (!this.hasMain) {
      return !this.isLive;
    }
    return (
      this.isLive &&
      this.shadowEnd - this.liveStart === this.mainEnd - this.mainStart &&
      this.shadowBuffer.compare(
        this.mainBuffer,
        this.mainStart,
        this.mainEnd,
        this.liveStart,
        this.shadowEnd,
      ) === 0
    );
  }

  #lookShadow(key: Buffer): void {
    const cursor = this.#shadow;
    this.hasShadow = false;
    this.isLive = false;
    if (cursor === undefined || !cursor.seek(key, 0, key.length) || !isAtKey(cursor, key)) {
      return;
    }
    const { valueBuffer, valueStart, valueEnd } = cursor;
    // One without a header is nobody's register: the application's value replaces it.
    if (!isValidValue(valueBuffer, valueStart, valueEnd)) {
      return;
    }
    this.hasShadow = true;
    this.shadowBuffer = valueBuffer;
    this.shadowStart = valueStart;
    this.shadowEnd = valueEnd;
    this.isLive = !isDeletedAt(valueBuffer, valueStart);
    this.liveStart = valueStart + headerLengthAt(valueBuffer, valueStart, valueEnd);
  }

  #lookMain(key: Buffer): void {
    const cursor = this.#main;
    this.hasMain = false;
    if (cursor === undefined || !cursor.seek(key, 0, key.length) || !isAtKey(cursor, key)) {
      return;
    }
    this.hasMain = true;
    this.#showMain(cursor);
  }

  #lookPair(pair: DecodedPair | undefined): void {
    const cursor = this.#main;
    this.hasMain = false;
    if (cursor === undefined || pair === undefined) {
      return;
    }
    const { key, value } = pair;
    const isWhole = value.length < pairValueBytes(key.length);
    // Values that only begin with these bytes are next to each other, unless they are sorted from their ends.
    const isScattered = !isWhole && ((this.main?.flags ?? 0) & MDB_REVERSEDUP) !== 0;
    let has = isScattered ? cursor.seek(key, 0, key.length) : cursor.seekPair(key, value);
    for (; has && isAtKey(cursor, key); has = cursor.next()) {
      if (!beginsWith(cursor, value, isWhole)) {
        if (isScattered) {
          continue;
        }
        return;
      }
      this.isAmbiguous = this.hasMain;
      this.hasMain = true;
      if (this.isAmbiguous) {
        return;
      }
      this.#showMain(cursor);
      if (isWhole) {
        return;
      }
      // Kept, because the cursor goes on to see whether there is another one.
      this.mainBuffer = Buffer.from(this.mainBuffer.subarray(this.mainStart, this.mainEnd));
      this.mainStart = 0;
      this.mainEnd = this.mainBuffer.length;
    }
  }

  #showMain(cursor: PageCursor): void {
    this.mainStart = cursor.valueStart;
    this.mainEnd = cursor.valueEnd;
    const registerBytes = VALUE_HEADER_BYTES + this.mainEnd - this.mainStart;
    this.isTooLarge ||= this.#leftOut.isTooLarge(0, registerBytes);
    this.mainBuffer = this.isTooLarge ? NO_BYTES : cursor.valueBuffer;
  }
}

/** All DBIs of one root, with their shadow DBIs. */
export class ShadowSides {
  readonly #file: DataFile;
  readonly #records: ReadonlyMap<string, DbRecord>;
  readonly #leftOut: LeftOut;
  readonly #sides = new Map<string, DbiSides>();

  constructor(file: DataFile, meta: Meta, leftOut: LeftOut) {
    this.#file = file;
    this.#leftOut = leftOut;
    this.#records = listDbis(file, meta);
  }

  /** The sides of one of the application's DBIs, whether it exists or not. */
  of(dbiName: string): DbiSides {
    let sides = this.#sides.get(dbiName);
    if (sides === undefined) {
      sides = new DbiSides(this.#file, {
        main: this.#records.get(dbiName),
        shadow: this.#records.get(shadowDbiName(dbiName)),
        leftOut: this.#leftOut,
      });
      this.#sides.set(dbiName, sides);
    }
    return sides;
  }
}

function beginsWith(cursor: PageCursor, value: Buffer, isWhole: boolean): boolean {
  const { valueBuffer, valueStart, valueEnd } = cursor;
  const length = valueEnd - valueStart;
  if (length < value.length || (isWhole && length !== value.length)) {
    return false;
  }
  return value.compare(valueBuffer, valueStart, valueStart + value.length) === 0;
}
