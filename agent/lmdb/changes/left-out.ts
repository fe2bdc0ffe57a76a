import type { LeftOutEntries } from '../local-database.ts';
import { MAX_KEY_BYTES, MAX_VALUE_BYTES } from '../../../protocol/limits.ts';

/** More entries than this are not counted one by one. */
const MAX_LEFT_OUT = 10_000;
/** Bytes of a key that are shown. */
const SHOWN_KEY_BYTES = 32;

/**
 * The local entries that no object can carry, kept up to date: keys that are longer than an LMDB takes by default,
 * and values above {@link MAX_VALUE_BYTES}. They are left alone, neither sent nor replaced nor removed.
 */
export class LeftOut {
  readonly #maxValueBytes: number;
  /** Text for people by DBI, NUL and key. */
  readonly #entries = new Map<string, string>();

  constructor(maxValueBytes: number = MAX_VALUE_BYTES) {
    this.#maxValueBytes = maxValueBytes;
  }

  /** True if no object can carry such an entry. `valueBytes`: with the value header. */
  isTooLarge(keyBytes: number, valueBytes: number): boolean {
    return keyBytes > MAX_KEY_BYTES || valueBytes > this.#maxValueBytes;
  }

  /** Remembers an entry; its key as latin1. */
  note(dbiName: string, key: string, valueBytes: number): void {
    const id = `${dbiName}\0${key}`;
    if (this.#entries.size < MAX_LEFT_OUT || this.#entries.has(id)) {
      this.#entries.set(id, describeEntry(dbiName, Buffer.from(key, 'latin1'), valueBytes));
    }
  }

  /** The entry is gone, or has become one that fits. */
  forget(dbiName: string, key: string): void {
    if (this.#entries.size > 0) {
      this.#entries.delete(`${dbiName}\0${key}`);
    }
  }

  clear(): void {
    this.#entries.clear();
  }

  /** undefined: there are none. */
  get summary(): LeftOutEntries | undefined {
    const [first] = this.#entries.values();
    return first === undefined ? undefined : { entries: this.#entries.size, first };
  }
}

/** Names an entry that is too large, for people: DBI, the first bytes of its key, and sizes. */
export function describeEntry(dbiName: string, key: Uint8Array, valueBytes: number): string {
  const shown = Buffer.from(key.subarray(0, SHOWN_KEY_BYTES)).toString('latin1');
  const text = shown.replaceAll(/[^\x20-\x7e]/g, (char) => {
    return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
  const more = key.length > SHOWN_KEY_BYTES ? '…' : '';
  return `DBI ${dbiName}, key "${text}${more}" of ${key.length} bytes, value of ${valueBytes} bytes`;
}
