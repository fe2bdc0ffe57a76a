import { VALUE_HEADER_BYTES, writeValueHeader } from '../../../protocol/value-header.ts';
import { isPrivateDbi, shadowDbiName } from '../../../protocol/dbi-name.ts';
import type { KeySet } from '../changes/key-set.ts';
import type { LeftOut } from '../changes/left-out.ts';
import type { WrittenValues } from '../changes/own-writes.ts';
import { FILL_ENTRIES_MIN, WRITE_SET_BYTES, WRITES_PER_CLOCK_LOOK } from '../limits.ts';
import type { LockBudget } from '../lock-budget.ts';
import { copyBytes, PackedEntries, type PackedRow } from '../packed-entries.ts';
import { isAtKey, PageCursor } from '../pages/cursor.ts';
import { listDbis, type DataFile, type DbRecord, type Meta } from '../pages/data-file.ts';
import { MDB_DUPSORT } from '../pages/layout.ts';
import type { WriteTxn } from '../write-txn.ts';
import type { NameSet } from './shadow-compare.ts';

/** Where in the registers of a fill the next transaction begins. */
type Position = { readonly row: number; readonly at: number };

/**
 * Registers on their way into a shadow DBI that had none. They say what the application has as of one state, so they
 * are put only while nobody else has committed since.
 */
export class ShadowFill {
  /** Somebody else has committed: what is left must be read again. */
  isStale = false;
  /** The key that was put last, once something was. */
  lastKey: Buffer | undefined;
  readonly #registers: PackedEntries;
  readonly #budget: LockBudget;
  /** The state that the registers were read from, with what our own transactions have added to it since. */
  #readTxn: number;
  #next: Position | undefined;

  constructor(parts: { registers: PackedEntries; budget: LockBudget; readTxn: number }) {
    this.#registers = parts.registers;
    this.#budget = parts.budget;
    this.#readTxn = parts.readTxn;
    this.#next = this.#beginningOf(0);
  }

  get isDone(): boolean {
    return this.#next === undefined;
  }

  /** The transaction up to which what was read is true, if the fill is not stale. */
  get readTxn(): number {
    return this.#readTxn;
  }

  /** Puts as many as the lock's time allows; returns how many, and what is to be done once it is committed. */
  put(txn: WriteTxn, written: WrittenValues): { put: number; committed: () => void } {
    if (txn.committed.txnId !== this.#readTxn) {
      this.isStale = true;
      return { put: 0, committed: () => {} };
    }
    this.#budget.begin(performance.now());
    const { pageSize } = txn.committed;
    let next = this.#next;
    let last: { row: PackedRow; at: number; end: number } | undefined;
    let put = 0;
    let putBytes = 0;
    let isSpent = false;
    while (next !== undefined && !isSpent) {
      const { row: index, at } = next;
      const row = this.#registers.rows[index]!;
      const part = txn.putPacked(row, at, WRITES_PER_CLOCK_LOOK);
      written.addPacked(row, at, part.next);
      put += part.put;
      putBytes += part.next - at;
      last = { row, at, end: part.next };
      next = part.next < row.end ? { row: index, at: part.next } : this.#beginningOf(index + 1);
      isSpent = this.#budget.isSpent(part.dirtyPages + putBytes / pageSize);
    }
    this.#budget.endWriting();
    const committed = () => {
      this.#next = next;
      this.lastKey = last && lastKeyOf(last);
      this.#readTxn = txn.txnId;
    };
    return { put, committed };
  }

  /** The transaction that put them is committed, and had the lock for so long. */
  learn(lockHeldMs: number): void {
    this.#budget.learn(lockHeldMs);
  }

  #beginningOf(index: number): Position | undefined {
    const row = this.#registers.rows[index];
    return row && { row: index, at: row.start };
  }
}

function lastKeyOf({ row, at, end }: { row: PackedRow; at: number; end: number }): Buffer {
  let last = at;
  for (let next = at; next < end; next = row.next(next)) {
    last = next;
  }
  return row.key(last);
}

/** The application's DBIs with many entries that have no register at all, with their flags. */
export function unregisteredDbis(file: DataFile, meta: Meta, refused: NameSet): string[] {
  const dbis = listDbis(file, meta);
  const names: string[] = [];
  for (const [name, { flags, entries }] of dbis) {
    const hasRegisters = (dbis.get(shadowDbiName(name))?.entries ?? 0) > 0;
    const isPlain = !isPrivateDbi(name) && !refused.has(name) && (flags & MDB_DUPSORT) === 0;
    if (isPlain && !hasRegisters && entries >= FILL_ENTRIES_MIN) {
      names.push(name);
    }
  }
  return names;
}

/** Reads what an application has in one DBI as registers that nobody has yet, a set at a time. */
export class RegisterReader {
  isAtEnd = false;
  readonly #options: RegisterReaderOptions;
  readonly #main: PageCursor;
  readonly #shadow: PageCursor | undefined;
  #isOnEntry: boolean;

  /** `after`: begin behind this key. The state must stay pinned. */
  constructor(options: RegisterReaderOptions) {
    const { file, meta, dbiName, main, after } = options;
    const shadow = listDbis(file, meta).get(shadowDbiName(dbiName));
    this.#options = options;
    this.#main = new PageCursor(file, main);
    this.#shadow = shadow && new PageCursor(file, shadow);
    this.#isOnEntry =
      after === undefined
        ? this.#main.next()
        : this.#main.seek(after, 0, after.length) &&
          (!isAtKey(this.#main, after) || this.#main.next());
  }

  next(): PackedEntries {
    const { dbiName, leftOut } = this.#options;
    const registers = new PackedEntries({ hasHeaders: true });
    const shadowName = shadowDbiName(dbiName);
    const main = this.#main;
    for (; this.#isOnEntry && registers.bytes < WRITE_SET_BYTES; this.#isOnEntry = main.next()) {
      const keyBytes = main.keyEnd - main.keyStart;
      const valueBytes = VALUE_HEADER_BYTES + main.valueEnd - main.valueStart;
      if (leftOut.isTooLarge(keyBytes, valueBytes)) {
        leftOut.note(dbiName, this.#keyText(), valueBytes - VALUE_HEADER_BYTES);
      } else if (!this.#isKnown()) {
        this.#pack(registers, shadowName, { keyBytes, valueBytes });
      }
    }
    this.isAtEnd = !this.#isOnEntry;
    return registers;
  }

  /** Somebody stamps it, or has done so: it changed while others were read. */
  #isKnown(): boolean {
    const { behind, dbiName } = this.#options;
    const { keyBuffer, keyStart, keyEnd } = this.#main;
    if (!behind.isEmpty && behind.has(dbiName, this.#keyText())) {
      return true;
    }
    const shadow = this.#shadow;
    return (
      shadow !== undefined &&
      shadow.seek(keyBuffer, keyStart, keyEnd) &&
      (shadow.isExact || isAtKey(shadow, keyBuffer.subarray(keyStart, keyEnd)))
    );
  }

  #keyText(): string {
    return this.#main.keyBuffer.toString('latin1', this.#main.keyStart, this.#main.keyEnd);
  }

  #pack(
    registers: PackedEntries,
    shadowName: string,
    { keyBytes, valueBytes }: { readonly keyBytes: number; readonly valueBytes: number },
  ): void {
    const { timeHi, timeLo } = this.#options;
    const main = this.#main;
    const at = registers.append(shadowName, keyBytes, valueBytes);
    const row = registers.row!;
    const key = row.keyStart(at);
    copyBytes(row.bytes, key, main.keyBuffer, main.keyStart, main.keyEnd);
    const header = { timeHi, timeLo, txnId: 0, flags: 0 };
    const value = key + keyBytes + writeValueHeader(row.bytes, key + keyBytes, header);
    copyBytes(row.bytes, value, main.valueBuffer, main.valueStart, main.valueEnd);
  }
}

type RegisterReaderOptions = {
  readonly file: DataFile;
  readonly meta: Meta;
  readonly dbiName: string;
  /** The application's DBI. */
  readonly main: DbRecord;
  readonly after: Buffer | undefined;
  /** The time of the registers, in two halves. */
  readonly timeHi: number;
  readonly timeLo: number;
  /** Keys that are stamped one by one. */
  readonly behind: KeySet;
  readonly leftOut: LeftOut;
};
