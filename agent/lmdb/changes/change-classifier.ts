import { HighestTime, isAbove } from './highest-time.ts';
import { SyncError } from '../../../protocol/errors.ts';
import type { TxnRanges } from '../txn-ranges.ts';
import { isValidValue, timeHiAt, timeLoAt, txnIdAt } from '../../../protocol/value-header.ts';
import { incomingWins } from '../../../protocol/register.ts';
import { newView } from '../../../protocol/snapshot.ts';
import { KeySet } from './key-set.ts';
import type { DbRecord } from '../pages/data-file.ts';
import type { DiffChange, DiffSink } from '../pages/diff.ts';
import { MDB_DUPSORT } from '../pages/layout.ts';
import { isPrivateDbi } from '../../../protocol/dbi-name.ts';
import { ValueMap } from './value-map.ts';
import type { LeftOut } from './left-out.ts';
import { noteInvalid, showValue } from './stored-value.ts';

/**
 * Thrown out of a diff that finds more regressions than fit: at once, and those found so far are in the classifier. Or at
 * its end, if they were put back on the way: the same diff is made once more, for what has happened to them since.
 */
export class TooManyRegressions extends Error {
  asSyncError(): SyncError {
    const what = 'the application has just replaced very many entries by older ones';
    return new SyncError('TRANSACTION_FAILED', what, { retryable: true, cause: this });
  }
}

/** Which DBIs are left alone, and who is told what a diff finds of them. */
export interface DisorderSink {
  has(dbiName: string): boolean;
  /** A DBI of the application turned out not to be in the order of its flags. */
  suspect(dbiName: string): void;
  /** A DBI that is left alone has changed. */
  noteChange(dbiName: string): void;
}

export type ClassifierOptions = {
  /** Transactions of ours that hold only merged entries: what they wrote are echoes. */
  readonly merged: TxnRanges;
  /** What our own last transaction wrote: the old side of this diff for those keys. */
  readonly overlay: { get(dbiName: string, key: string): Buffer | undefined } | undefined;
  /** Keys (DBI, NUL, key) of local values without a valid header; kept up to date. */
  readonly invalid: Set<string>;
  readonly disorder: DisorderSink;
  /** Local entries that no object can carry; kept up to date. */
  readonly leftOut: LeftOut;
  /** Times above this are in the future. */
  readonly futureFromNs: bigint;
  readonly pendingBytesMax: number;
  readonly regressionBytesMax: number;
  /** Puts back what was found so far, so that the diff can go on; undefined: that is not possible now. */
  readonly putBack?: ((found: ChangeClassifier) => void) | undefined;
};

/**
 * Sorts the changed entries of a diff: local changes to be sent, echoes of our merges, and regressions: local writes
 * that lose against what they replaced (a clock behind, or a key removed without a tombstone).
 */
export class ChangeClassifier implements DiffSink {
  readonly pending: KeySet;
  /** The old value of each regressed key: it is to be put back. */
  regressed = new ValueMap();
  newChanges = 0;
  futureEntries = 0;
  /** A DBI that is not private has changed. */
  dataChanged = false;
  /** Flags of DBIs that the application dropped: whoever puts their entries back creates them again. */
  readonly droppedDbis = new Map<string, number>();
  readonly #options: ClassifierOptions;
  readonly #futureHi: number;
  readonly #futureLo: number;
  readonly #old = newView();
  #dbiName = '';
  #skip = false;
  #hasPutBack = false;
  readonly #highest = new HighestTime();

  constructor(options: ClassifierOptions) {
    this.#options = options;
    this.pending = new KeySet(options.pendingBytesMax);
    this.#futureHi = Number(options.futureFromNs >> 32n);
    this.#futureLo = Number(options.futureFromNs & 0xffff_ffffn);
  }

  /** The highest time of a local change. */
  get maxTsNs(): bigint {
    return this.#highest.ns;
  }

  onDisorder(dbis: ReadonlyMap<string, number>): void {
    for (const [name, flags] of dbis) {
      if (!isPrivateDbi(name) && (flags & MDB_DUPSORT) === 0) {
        this.#options.disorder.suspect(name);
      }
    }
  }

  accepts(name: string): boolean {
    const { disorder } = this.#options;
    if (!disorder.has(name)) {
      return !isPrivateDbi(name);
    }
    disorder.noteChange(name);
    return false;
  }

  onDbi(name: string, oldDb: DbRecord | undefined, newDb: DbRecord | undefined): void {
    this.#dbiName = name;
    const flags = (oldDb?.flags ?? 0) | (newDb?.flags ?? 0);
    this.#skip = isPrivateDbi(name) || (flags & MDB_DUPSORT) !== 0;
    if (!isPrivateDbi(name)) {
      this.dataChanged = true;
    }
    if (oldDb !== undefined && newDb === undefined) {
      this.droppedDbis.set(name, oldDb.flags);
    }
  }

  onChange(change: DiffChange): void {
    if (this.#skip) {
      return;
    }
    const { overlay, invalid, merged } = this.#options;
    const key = change.keyBuffer.toString('latin1', change.keyStart, change.keyEnd);
    if (this.#isTooLarge(key, change)) {
      return;
    }
    const ours = overlay?.get(this.#dbiName, key);
    const hasOld =
      ours !== undefined
        ? showValue(this.#old, ours, 0, ours.length)
        : this.#hasOld(change) &&
          showValue(this.#old, change.oldBuffer, change.oldStart, change.oldEnd);
    if (!change.hasNew) {
      invalid.delete(`${this.#dbiName}\0${key}`);
      if (hasOld) {
        this.#regress(key, ours ?? copyRange(change.oldBuffer, change.oldStart, change.oldEnd));
      }
      return;
    }
    const { newBuffer, newStart, newEnd } = change;
    if (ours !== undefined && ours.equals(newBuffer.subarray(newStart, newEnd))) {
      return;
    }
    if (!isValidValue(newBuffer, newStart, newEnd)) {
      noteInvalid(invalid, this.#dbiName, key);
      return;
    }
    if (invalid.size > 0) {
      invalid.delete(`${this.#dbiName}\0${key}`);
    }
    if (hasOld && incomingWins(newBuffer, newStart, newEnd, this.#old)) {
      this.#regress(key, ours ?? copyRange(change.oldBuffer, change.oldStart, change.oldEnd));
      return;
    }
    if (merged.has(txnIdAt(newBuffer, newStart))) {
      return;
    }
    this.#addLocal(key, timeHiAt(newBuffer, newStart), timeLoAt(newBuffer, newStart));
  }

  onEnd(): void {
    if (this.#hasPutBack) {
      throw new TooManyRegressions();
    }
  }

  /** True for an entry that no object can carry: it is nobody's change. What it replaces is not put back, either. */
  #isTooLarge(key: string, change: DiffChange): boolean {
    const { leftOut } = this.#options;
    const { keyStart, keyEnd, newStart, newEnd } = change;
    const valueBytes = change.hasNew ? newEnd - newStart : 0;
    if (!leftOut.isTooLarge(keyEnd - keyStart, valueBytes)) {
      leftOut.forget(this.#dbiName, key);
      return false;
    }
    if (change.hasNew) {
      leftOut.note(this.#dbiName, key, valueBytes);
    } else {
      leftOut.forget(this.#dbiName, key);
    }
    return true;
  }

  /** False also where the old value was one that no object can carry: nothing regresses from it. */
  #hasOld({ hasOld, oldStart, oldEnd }: DiffChange): boolean {
    return hasOld && !this.#options.leftOut.isTooLarge(0, oldEnd - oldStart);
  }

  #addLocal(key: string, timeHi: number, timeLo: number): void {
    this.pending.add(this.#dbiName, key);
    this.newChanges += 1;
    this.#highest.note(timeHi, timeLo);
    if (isAbove(timeHi, timeLo, this.#futureHi, this.#futureLo)) {
      this.futureEntries += 1;
    }
  }

  #regress(key: string, winner: Buffer): void {
    this.regressed.set(this.#dbiName, key, winner);
    this.pending.add(this.#dbiName, key);
    if (this.regressed.bytes <= this.#options.regressionBytesMax) {
      return;
    }
    const { putBack } = this.#options;
    if (putBack === undefined) {
      throw new TooManyRegressions();
    }
    this.#hasPutBack = true;
    putBack(this);
    this.regressed = new ValueMap();
  }
}

function copyRange(buffer: Buffer, start: number, end: number): Buffer {
  return Buffer.from(buffer.subarray(start, end));
}
