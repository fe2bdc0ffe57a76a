import { EntryParser, TAG_ENTRY } from './entry-parser.ts';
import { MAX_DBI_NAME_BYTES } from './limits.ts';
import {
  ByteCursor,
  WIRE_BYTES,
  WIRE_VARINT,
  corrupt,
  fieldNumber,
  requireWireType,
} from './protobuf.ts';
import type { DbiHeader, EntryView } from './snapshot.ts';

const DBI_NAME = 1;
const DBI_ENTRIES = 2;
const DBI_FLAGS = 3;
const DBI_TRANSFORM = 4;

const MAX_VARINT_BYTES = 10;
const EMPTY_DBI: DbiHeader = { name: '', flags: 0, transform: '' };

/** What the parser calls for one DBI message. */
export type DbiSink = {
  onDbi(dbi: DbiHeader): void;
  onEntry(entry: EntryView): void;
  onDbiEnd(): void;
  onLateDbiHeader?(dbi: DbiHeader): void;
};

/** Parses DBI messages: {@link whole} in one call, or {@link begin} and then {@link stream} as the bytes arrive. */
export class DbiParser {
  readonly #sink: DbiSink;
  readonly #entries: EntryParser;
  readonly #entryBytes: number;
  readonly #cursor = new ByteCursor(new Uint8Array(0));
  #dbi: DbiHeader = EMPTY_DBI;
  #given = false;
  /** Bytes of the streamed message still to come. */
  #rest = 0;
  #streaming = false;

  constructor(sink: DbiSink, entryBytes: number) {
    this.#sink = sink;
    this.#entryBytes = entryBytes;
    this.#entries = new EntryParser(sink, entryBytes);
  }

  /** True between {@link begin} and the last byte of the message. */
  get streaming(): boolean {
    return this.#streaming;
  }

  /** Formats before 2: an empty value means deleted. */
  set emptyMeansDeleted(value: boolean) {
    this.#entries.emptyMeansDeleted = value;
  }

  /** A message that is in memory: first its header, wherever it stands, then its entries. */
  whole(buffer: Uint8Array, start: number, end: number): void {
    this.#dbi = EMPTY_DBI;
    this.#given = false;
    for (let at = this.#passEntries(buffer, start, end); at < end;) {
      this.#headerField(this.#at(buffer, at, end), end);
      at = this.#passEntries(buffer, this.#cursor.position, end);
    }
    this.#give();
    for (let at = this.#entries.parseAll(buffer, start, end); at < end;) {
      this.#headerField(this.#at(buffer, at, end), end);
      at = this.#entries.parseAll(buffer, this.#cursor.position, end);
    }
    this.#sink.onDbiEnd();
  }

  /** A message of `length` bytes follows; {@link stream} reads it. */
  begin(length: number): void {
    this.#dbi = EMPTY_DBI;
    this.#given = false;
    this.#rest = length;
    this.#streaming = true;
  }

  /** Reads on in `buffer[start, arrived)`; returns how far it came. */
  stream(buffer: Uint8Array, start: number, arrived: number): number {
    const messageEnd = start + this.#rest;
    const end = Math.min(arrived, messageEnd);
    let at = start;
    while (at < end) {
      if (buffer[at] === TAG_ENTRY) {
        this.#give();
        at = this.#entries.parseAll(buffer, at, end);
      }
      const cursor = this.#at(buffer, at, end);
      if (at === end || (end < messageEnd && !this.#arrived(cursor, messageEnd))) {
        break;
      }
      this.#lateField(cursor, messageEnd);
      at = cursor.position;
    }
    this.#rest = messageEnd - at;
    if (this.#rest === 0) {
      this.#give();
      this.#streaming = false;
      this.#sink.onDbiEnd();
    }
    return at;
  }

  /** Passes over consecutive entries of a message in memory; only their lengths are looked at. */
  #passEntries(buffer: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && buffer[at] === TAG_ENTRY) {
      const length = at + 1 < end ? (buffer[at + 1] ?? 0) : 0x80;
      if (length < 0x80 && length <= end - at - 2) {
        at += 2 + length;
      } else {
        const cursor = this.#at(buffer, at + 1, end);
        cursor.skip(WIRE_BYTES);
        at = cursor.position;
      }
    }
    return at;
  }

  /** True if the field at the cursor is complete; throws if it can never be. The cursor stays. */
  #arrived(cursor: ByteCursor, messageEnd: number): boolean {
    const start = cursor.position;
    const tag = cursor.tryVarint();
    let needed = MAX_VARINT_BYTES;
    if (tag >= 0 && tag % 8 === WIRE_BYTES) {
      needed = cursor.tryVarint();
      if (needed > this.#entryBytes || cursor.position + needed > messageEnd) {
        throw corrupt(
          `a field of ${needed} bytes is too long, at most ${this.#entryBytes} are allowed`,
        );
      }
    }
    const arrived = tag >= 0 && needed >= 0 && needed <= cursor.end - cursor.position;
    cursor.position = start;
    return arrived;
  }

  #lateField(cursor: ByteCursor, messageEnd: number): void {
    const before = this.#dbi;
    this.#headerField(cursor, messageEnd);
    if (this.#given && before !== this.#dbi) {
      if (this.#sink.onLateDbiHeader === undefined || before.name !== this.#dbi.name) {
        throw corrupt(`the header of DBI "${before.name}" stands behind its entries`);
      }
      this.#sink.onLateDbiHeader(this.#dbi);
    }
  }

  /** One field that is not an entry. */
  #headerField(cursor: ByteCursor, messageEnd: number): void {
    const tag = cursor.varint();
    const valueStart = cursor.position;
    switch (fieldNumber(tag)) {
      case DBI_NAME:
        requireWireType(tag, WIRE_BYTES, 'DBI.name');
        this.#set({ ...this.#dbi, name: latin1(cursor.bytes()) });
        return;
      case DBI_ENTRIES:
        throw corrupt('an entry of a DBI has a damaged tag, or runs past the end of its DBI');
      case DBI_FLAGS:
        requireWireType(tag, WIRE_VARINT, 'DBI.flags');
        this.#set({ ...this.#dbi, flags: cursor.varint() });
        return;
      case DBI_TRANSFORM:
        requireWireType(tag, WIRE_BYTES, 'DBI.transform');
        this.#set({ ...this.#dbi, transform: latin1(cursor.bytes()) });
        return;
      default:
        this.#unknownField(cursor, tag, messageEnd - valueStart);
    }
  }

  /**
   * Upstream computes the length of an unknown field wrongly if it is length-delimited or a varint of several bytes, and
   * takes the object for corrupt unless nothing follows. Every reader must come to the same decision.
   */
  #unknownField(cursor: ByteCursor, tag: number, rest: number): void {
    const start = cursor.position;
    cursor.skip(tag % 8);
    const length = cursor.position - start;
    const miscounted = tag % 8 === WIRE_BYTES || (tag % 8 === WIRE_VARINT && length > 1);
    if (miscounted && length < rest) {
      throw corrupt(`a DBI has the unknown field ${fieldNumber(tag)} before its end`);
    }
  }

  #set(dbi: DbiHeader): void {
    const { name, flags, transform } = this.#dbi;
    if (dbi.name !== name || dbi.flags !== flags || dbi.transform !== transform) {
      this.#dbi = dbi;
    }
  }

  /** Announces the DBI, once per message. */
  #give(): void {
    if (this.#given) {
      return;
    }
    const { name, flags } = this.#dbi;
    if (name === '' || name.length > MAX_DBI_NAME_BYTES || name.includes('\0')) {
      throw corrupt(`a DBI has a name of ${name.length} bytes, or with a NUL; LMDB cannot hold it`);
    }
    if (!Number.isSafeInteger(flags)) {
      throw corrupt(`DBI "${name}" has impossible flags`);
    }
    this.#given = true;
    this.#sink.onDbi(this.#dbi);
  }

  #at(buffer: Uint8Array, start: number, end: number): ByteCursor {
    const cursor = this.#cursor;
    cursor.buffer = buffer;
    cursor.position = start;
    cursor.end = end;
    return cursor;
  }
}

/** One character per byte, so that any name survives. */
function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}
