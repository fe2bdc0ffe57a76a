import { EntryParser, TAG_ENTRY, type EntrySink } from './entry-parser.ts';
import { HELD_DBI_BYTES, MAX_DBI_NAME_BYTES } from './limits.ts';
import {
  ByteCursor,
  WIRE_BYTES,
  WIRE_VARINT,
  corrupt,
  fieldNumber,
  requireWireType,
} from './protobuf.ts';
import type { DbiHeader } from './snapshot.ts';

const DBI_NAME = 1;
const DBI_ENTRIES = 2;
const DBI_FLAGS = 3;
const DBI_TRANSFORM = 4;

const MAX_VARINT_BYTES = 10;
const EMPTY_DBI: DbiHeader = { name: '', flags: 0, transform: '' };

/** What the parser calls for one DBI message. */
export type DbiSink = EntrySink & {
  onDbi(dbi: DbiHeader): void;
  onDbiEnd(): void;
  onLateDbiHeader?(dbi: DbiHeader): void;
};

/** Parses DBI messages: {@link whole} in one call, or {@link begin} and then {@link stream} as the bytes arrive. */
export class DbiParser {
  readonly #sink: DbiSink;
  readonly #entries: EntryParser;
  readonly #cursor = new ByteCursor(new Uint8Array(0));
  #dbi: DbiHeader = EMPTY_DBI;
  #given = false;
  /** Bytes of the streamed message still to come. */
  #rest = 0;
  /** Bytes of the streamed message that are passed over unheld. */
  #skip = 0;
  #streaming = false;

  constructor(sink: DbiSink, entryBytes: number) {
    this.#sink = sink;
    this.#entries = new EntryParser(sink, entryBytes);
  }

  /** True between {@link begin} and the last byte of the message. */
  get streaming(): boolean {
    return this.#streaming;
  }

  /** Bytes of which the streamed message needs all before it goes on; 0: unknown. */
  get wanted(): number {
    return this.#streaming ? this.#entries.wanted : 0;
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
      this.#headerField(this.#at(buffer, at, end));
      at = this.#passEntries(buffer, this.#cursor.position, end);
    }
    this.#give();
    for (let at = this.#parseEntries(buffer, start, end); at < end;) {
      this.#headerField(this.#at(buffer, at, end));
      at = this.#parseEntries(buffer, this.#cursor.position, end);
    }
    this.#sink.onDbiEnd();
  }

  /** A message of `length` bytes follows; {@link stream} reads it. */
  begin(length: number): void {
    this.#dbi = EMPTY_DBI;
    this.#given = false;
    this.#rest = length;
    this.#skip = 0;
    this.#streaming = true;
  }

  /** Reads on in `buffer[start, arrived)`; returns how far it came. */
  stream(buffer: Uint8Array, start: number, arrived: number): number {
    const messageEnd = start + this.#rest;
    const end = Math.min(arrived, messageEnd);
    let at = start;
    while (at < end) {
      if (this.#skip > 0) {
        const passed = Math.min(this.#skip, end - at);
        this.#skip -= passed;
        at += passed;
        continue;
      }
      if (buffer[at] === TAG_ENTRY) {
        this.#give();
        at = this.#entries.parseAll(buffer, at, end);
        this.#skip = this.#entries.skip;
      } else if (this.#beginUnknown(this.#at(buffer, at, end))) {
        at = this.#cursor.position;
      }
      if (this.#skip > messageEnd - at) {
        throw corrupt(`a field of ${this.#skip} bytes runs past the end of its DBI`);
      }
      if (this.#skip > 0) {
        continue;
      }
      const cursor = this.#at(buffer, at, end);
      if (at === end || (end < messageEnd && !this.#arrived(cursor, messageEnd))) {
        break;
      }
      this.#lateField(cursor);
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

  /** As {@link EntryParser.parseAll}, of a message in memory. */
  #parseEntries(buffer: Uint8Array, start: number, end: number): number {
    let at = this.#entries.parseAll(buffer, start, end);
    while (this.#entries.skip > 0) {
      at = this.#entries.parseAll(buffer, at + this.#entries.skip, end);
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

  /** True at an unknown field with a length of its own, whose bytes are then to be passed over; the cursor is at them. */
  #beginUnknown(cursor: ByteCursor): boolean {
    const tag = cursor.tryVarint();
    if (tag < 0 || tag % 8 !== WIRE_BYTES || fieldNumber(tag) <= DBI_TRANSFORM) {
      return false;
    }
    const length = cursor.tryVarint();
    this.#skip = Math.max(0, length);
    return length > 0;
  }

  /** True if the field at the cursor is complete; throws if it can never be. The cursor stays. */
  #arrived(cursor: ByteCursor, messageEnd: number): boolean {
    const start = cursor.position;
    const tag = cursor.tryVarint();
    let needed = MAX_VARINT_BYTES;
    if (tag >= 0 && tag % 8 === WIRE_BYTES) {
      needed = cursor.tryVarint();
      // How long an entry may be its parser has asked.
      const isHeld = fieldNumber(tag) !== DBI_ENTRIES;
      if ((isHeld && needed > HELD_DBI_BYTES) || cursor.position + needed > messageEnd) {
        throw corrupt(`a field of ${needed} bytes is too long for its DBI`);
      }
    }
    const arrived = tag >= 0 && needed >= 0 && needed <= cursor.end - cursor.position;
    cursor.position = start;
    return arrived;
  }

  #lateField(cursor: ByteCursor): void {
    const before = this.#dbi;
    this.#headerField(cursor);
    if (this.#given && before !== this.#dbi) {
      if (this.#sink.onLateDbiHeader === undefined || before.name !== this.#dbi.name) {
        throw corrupt(`the header of DBI "${before.name}" stands behind its entries`);
      }
      this.#sink.onLateDbiHeader(this.#dbi);
    }
  }

  /** One field that is not an entry. */
  #headerField(cursor: ByteCursor): void {
    const tag = cursor.varint();
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
        cursor.skip(tag % 8);
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
