import { SyncError } from './errors.ts';

/** Protobuf wire types in use; 3 and 4 (groups) are refused. */
export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;
export const WIRE_FIXED32 = 5;

const MAX_VARINT_BYTES = 10;

/** Bytes that cannot be a snapshot. Errors of the reader are made here, so that all have the same code and hint. */
export function corrupt(message: string, cause?: unknown): SyncError {
  return new SyncError('SNAPSHOT_CORRUPT', message, {
    hint: 'Let its writer upload again, or remove the object; it is ignored until then.',
    cause,
  });
}

/**
 * A position in `buffer[.., end)` that reads protobuf values. Borrows the buffer. Not for entries:
 * those have a loop of their own in the reader.
 *
 * Errors: SNAPSHOT_CORRUPT where a value runs past the end or cannot be.
 */
export class ByteCursor {
  buffer: Uint8Array;
  position: number;
  end: number;
  /** Where the value that was read or passed over last begins, after a length. */
  valueStart = 0;

  constructor(buffer: Uint8Array, position = 0, end = buffer.length) {
    this.buffer = buffer;
    this.position = position;
    this.end = end;
  }

  get atEnd(): boolean {
    return this.position >= this.end;
  }

  /**
   * An unsigned varint, or -1 if the buffer ends inside it (the position then stays). Exact up to 2^53; above
   * that, which no length and no tag may be, an approximation that is still far above 2^53.
   */
  tryVarint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < MAX_VARINT_BYTES; i++) {
      const at = this.position + i;
      if (at >= this.end) {
        return -1;
      }
      const byte = this.buffer[at] ?? 0;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        this.position = at + 1;
        return value;
      }
      scale *= 128;
    }
    throw corrupt('a varint is longer than 10 bytes');
  }

  /** {@link tryVarint}, where the end is the end of a message and not of what has arrived. */
  varint(): number {
    const value = this.tryVarint();
    if (value < 0) {
      throw corrupt('a message ends inside a varint');
    }
    return value;
  }

  /** An unsigned varint of 64 bits; bits above are dropped, as other decoders do. */
  varint64(): bigint {
    let value = 0n;
    const start = this.position;
    this.varint();
    for (let at = this.position - 1; at >= start; at--) {
      value = (value << 7n) | BigInt((this.buffer[at] ?? 0) & 0x7f);
    }
    return BigInt.asUintN(64, value);
  }

  /** A little-endian unsigned 64-bit number. */
  fixed64(): bigint {
    const start = this.take(8);
    return new DataView(this.buffer.buffer, this.buffer.byteOffset + start, 8).getBigUint64(
      0,
      true,
    );
  }

  /** A length-delimited field's bytes, as a borrowed view. */
  bytes(): Uint8Array {
    const length = this.varint();
    const start = this.take(length);
    return this.buffer.subarray(start, start + length);
  }

  /** A length-delimited field's text, UTF-8; what is not valid becomes U+FFFD. */
  text(): string {
    const bytes = this.bytes();
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8');
  }

  /** Passes over one value of the wire type. */
  skip(wireType: number): void {
    switch (wireType) {
      case WIRE_VARINT:
        this.valueStart = this.position;
        this.varint();
        return;
      case WIRE_FIXED64:
        this.take(8);
        return;
      case WIRE_BYTES:
        this.take(this.varint());
        return;
      case WIRE_FIXED32:
        this.take(4);
        return;
      default:
        throw corrupt(`wire type ${wireType} is not allowed`);
    }
  }

  private take(length: number): number {
    const start = this.position;
    if (length > this.end - start) {
      throw corrupt(`a field of ${length} bytes runs past the end of its message`);
    }
    this.position = start + length;
    this.valueStart = start;
    return start;
  }
}

/** The field number of a tag. Errors: SNAPSHOT_CORRUPT for 0 or above protobuf's 2^29 - 1. */
export function fieldNumber(tag: number): number {
  const number = Math.floor(tag / 8);
  if (number < 1 || number >= 2 ** 29) {
    throw corrupt(`field number ${number} is not allowed`);
  }
  return number;
}

/** Throws unless the tag has the wire type that its field must have. */
export function requireWireType(tag: number, wireType: number, field: string): void {
  if (tag % 8 !== wireType) {
    throw corrupt(`${field} has wire type ${tag % 8}, expected ${wireType}`);
  }
}

/** Bytes of a varint. Numbers are exact up to 2^53. */
export function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) {
    length++;
  }
  return length;
}

/** Writes a varint and returns the offset after it. */
export function writeVarint(target: Uint8Array, offset: number, value: number): number {
  let at = offset;
  let rest = value;
  while (rest >= 0x80) {
    target[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  target[at++] = rest;
  return at;
}

/** Collects the fields of a small message. Zero and empty values are left out, as proto3 does. */
export class MessageBuilder {
  readonly #parts: Uint8Array[] = [];

  varint(field: number, value: bigint): this {
    if (value !== 0n) {
      this.#varint(BigInt(field * 8 + WIRE_VARINT));
      this.#varint(BigInt.asUintN(64, value));
    }
    return this;
  }

  fixed64(field: number, value: bigint): this {
    if (value !== 0n) {
      this.#varint(BigInt(field * 8 + WIRE_FIXED64));
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(value);
      this.#parts.push(bytes);
    }
    return this;
  }

  /** A text in UTF-8, or latin1 for names that are bytes. */
  text(field: number, value: string, encoding: 'utf8' | 'latin1' = 'utf8'): this {
    return value === '' ? this : this.message(field, Buffer.from(value, encoding));
  }

  /** A length-delimited field, written even when empty. */
  message(field: number, bytes: Uint8Array): this {
    this.#varint(BigInt(field * 8 + WIRE_BYTES));
    this.#varint(BigInt(bytes.length));
    this.#parts.push(bytes);
    return this;
  }

  build(): Uint8Array {
    return Buffer.concat(this.#parts);
  }

  #varint(value: bigint): void {
    const bytes: number[] = [];
    let rest = value;
    while (rest >= 0x80n) {
      bytes.push(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    bytes.push(Number(rest));
    this.#parts.push(Uint8Array.from(bytes));
  }
}
