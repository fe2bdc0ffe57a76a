import { SyncError } from '../../../protocol/errors.ts';
import {
  F_BIGDATA,
  P_OVERFLOW,
  PAGE_HEADER_BYTES,
  damaged,
  readU16,
  readU32,
  readU64,
} from './layout.ts';
import type { PageSource } from './layout.ts';
import type { LeafPage } from './leaf.ts';

/** Bytes of one value at most, with its page's header; a larger one cannot be held in one Buffer on every Node. */
const MAX_VALUE_BYTES = 1024 ** 3;
/** Buffers up to this are used again. A larger one is of its value alone: who holds it may go on doing so. */
const REUSED_BYTES = 512 * 1024;
/** A longer common part is compared by `Buffer.compare`, a shorter one by a byte loop (350 ns against 1 ns a byte). */
const LOOP_BYTES = 256;

/**
 * The value of one entry, wherever it is stored. One object, used again for each entry; its bytes are borrowed:
 * valid until the walk that it shows moves on. A value on overflow pages is read when {@link buffer} is first asked
 * for, so a caller that needs its length alone reads nothing.
 */
export class ValueView {
  /** Where the value stands in {@link buffer}; `end - start` is its length, known without reading it. */
  start = 0;
  end = 0;
  /** First page of the overflow run, 0: the value is inline. Equal runs of two pinned trees hold equal bytes. */
  overflowPage = 0;

  readonly #source: PageSource;
  #inline: Buffer = Buffer.alloc(0);
  #overflow: Buffer = Buffer.alloc(0);
  #isRead = false;

  constructor(source: PageSource) {
    this.#source = source;
  }

  /** Takes the data of a node. */
  showData(node: LeafPage): void {
    if ((node.nodeFlags & F_BIGDATA) === 0) {
      this.#inline = node.buffer;
      this.overflowPage = 0;
      this.start = node.dataStart;
      this.end = node.dataEnd;
      return;
    }
    this.overflowPage = readU64(node.buffer, node.dataStart);
    this.start = PAGE_HEADER_BYTES;
    this.end = PAGE_HEADER_BYTES + node.dataSize;
    this.#isRead = false;
  }

  /** Takes the key of a node: in a tree of duplicates the keys are the values. */
  showKey(node: LeafPage): void {
    this.#inline = node.buffer;
    this.overflowPage = 0;
    this.start = node.keyStart;
    this.end = node.keyEnd;
  }

  /** Errors: ENVIRONMENT_UNREADABLE, when an overflow run is not what the entry says. */
  get buffer(): Buffer {
    if (this.overflowPage === 0) {
      return this.#inline;
    }
    if (!this.#isRead) {
      this.#readOverflow();
    }
    return this.#overflow;
  }

  #readOverflow(): void {
    const { pageSize, pageCount } = this.#source;
    const byteLength = this.end;
    const pages = Math.ceil(byteLength / pageSize);
    if (this.overflowPage < 2 || this.overflowPage + pages > pageCount) {
      throw damaged(`a value of ${byteLength} bytes at page ${this.overflowPage} of ${pageCount}`);
    }
    if (byteLength > MAX_VALUE_BYTES) {
      throw new SyncError('ENVIRONMENT_UNREADABLE', `a value of ${byteLength} bytes, above 1 GiB`);
    }
    if (this.#overflow.length < byteLength || this.#overflow.length > REUSED_BYTES) {
      this.#overflow = Buffer.allocUnsafeSlow(pages * pageSize);
    }
    this.#source.readRun(this.overflowPage, byteLength, this.#overflow);
    const flags = readU16(this.#overflow, 10);
    if ((flags & P_OVERFLOW) === 0 || readU32(this.#overflow, 12) < pages) {
      throw damaged(`page ${this.overflowPage} begins no run of ${pages} overflow pages`);
    }
    this.#isRead = true;
  }
}

/** True if both hold the same bytes. Reads overflow pages only where lengths are equal and runs are not. */
export function areValuesEqual(a: ValueView, b: ValueView): boolean {
  const length = a.end - a.start;
  if (length !== b.end - b.start) {
    return false;
  }
  if (a.overflowPage !== 0 && a.overflowPage === b.overflowPage) {
    return true;
  }
  // What cannot be read is told apart by its pages alone.
  if (length > MAX_VALUE_BYTES) {
    return false;
  }
  const aBuffer = a.buffer;
  const bBuffer = b.buffer;
  if (length > LOOP_BYTES) {
    return aBuffer.compare(bBuffer, b.start, b.end, a.start, a.end) === 0;
  }
  for (let i = 0; i < length; i += 1) {
    if (aBuffer[a.start + i] !== bBuffer[b.start + i]) {
      return false;
    }
  }
  return true;
}
