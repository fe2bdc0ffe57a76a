import { HighestTime, isAbove } from '../changes/highest-time.ts';
import { isValidValue, timeHiAt, timeLoAt, txnIdAt } from '../../../protocol/value-header.ts';
import type { DisorderSink } from '../changes/change-classifier.ts';
import type { LeftOut } from '../changes/left-out.ts';
import { noteInvalid } from '../changes/stored-value.ts';
import { ValueMap } from '../changes/value-map.ts';
import { encodePair } from '../../../protocol/dupsort-hack.ts';
import { KeySet } from '../changes/key-set.ts';
import type { DiffFindings } from '../changes/local-changes.ts';
import type { DbRecord } from '../pages/data-file.ts';
import type { DiffChange, DiffSink } from '../pages/diff.ts';
import { MDB_DUPSORT } from '../pages/layout.ts';
import { applicationDbiName, isPrivateDbi } from '../../../protocol/dbi-name.ts';
import { duplicatesRefused, type ShadowSides } from './shadow-sides.ts';
import type { TxnRanges } from '../txn-ranges.ts';

export type ShadowClassifierOptions = {
  /** Both sides at the newer root of the diff. */
  readonly sides: ShadowSides;
  /** Takes the keys (of the shadow DBI, under the application's DBI) whose two sides differ. */
  readonly behind: KeySet;
  readonly dupsortHack: boolean;
  readonly disorder: DisorderSink;
  /** Transactions of ours that hold only merged entries: what they wrote are echoes. */
  readonly merged: TxnRanges;
  /** Keys (DBI, NUL, key) that cannot be synced; kept up to date. */
  readonly invalid: Set<string>;
  /** Local entries that no object can carry; kept up to date. */
  readonly leftOut: LeftOut;
  readonly futureFromNs: bigint;
  readonly pendingBytesMax: number;
};

/**
 * Sorts the changed entries of a diff where we keep the registers. Every key that changed on either side is looked at
 * on both: where the application's value is another than the register's, the register is behind. So it does not matter who
 * wrote what since the last diff: what a merge of ours wrote to both sides is in step, and an application's write
 * right after it is not. A register that changed and is no echo is a local change, to be sent.
 */
export class ShadowClassifier implements DiffSink, DiffFindings {
  readonly pending: KeySet;
  /** Nothing regresses here: whatever the application writes gets a time above what it replaces. */
  readonly regressed = new ValueMap();
  readonly droppedDbis = new Map<string, number>();
  newChanges = 0;
  futureEntries = 0;
  dataChanged = false;
  readonly #options: ShadowClassifierOptions;
  readonly #futureHi: number;
  readonly #futureLo: number;
  /** The application's DBI that the changes are about, be they in it or in its shadow; undefined: in neither. */
  #application: string | undefined;
  #shadowName: string | undefined;
  #oldHasPairs = false;
  #newHasPairs = false;
  readonly #highest = new HighestTime();

  constructor(options: ShadowClassifierOptions) {
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
    for (const name of dbis.keys()) {
      this.#options.disorder.suspect(name);
    }
  }

  accepts(name: string): boolean {
    const application = applicationDbiName(name) ?? name;
    const { disorder } = this.#options;
    if (!disorder.has(application)) {
      return !isPrivateDbi(application);
    }
    disorder.noteChange(application);
    return false;
  }

  onDbi(name: string, oldDb: DbRecord | undefined, newDb: DbRecord | undefined): void {
    const shadowed = applicationDbiName(name);
    this.#shadowName = shadowed === undefined ? undefined : name;
    this.#application = shadowed ?? (isPrivateDbi(name) ? undefined : name);
    if (this.#application === undefined) {
      return;
    }
    this.dataChanged = true;
    if (shadowed !== undefined) {
      return;
    }
    this.#oldHasPairs = hasPairs(oldDb);
    this.#newHasPairs = hasPairs(newDb);
    if (this.#newHasPairs && !this.#options.dupsortHack) {
      throw duplicatesRefused(name);
    }
    if (oldDb !== undefined && newDb === undefined) {
      this.droppedDbis.set(name, oldDb.flags);
    }
  }

  onChange(change: DiffChange): void {
    if (this.#application === undefined) {
      return;
    }
    if (this.#shadowName !== undefined) {
      const key = Buffer.from(change.keyBuffer.subarray(change.keyStart, change.keyEnd));
      this.#onRegister(this.#shadowName, key, change);
      this.#check(this.#application, key);
      return;
    }
    if (change.hasOld) {
      this.#onSide(this.#application, change, 'old');
    }
    // Where the key is the same on both sides, one look is enough.
    if (change.hasNew && (this.#newHasPairs || !change.hasOld)) {
      this.#onSide(this.#application, change, 'new');
    }
  }

  #onSide(dbiName: string, change: DiffChange, side: 'old' | 'new'): void {
    const key = change.keyBuffer.subarray(change.keyStart, change.keyEnd);
    if (!(side === 'old' ? this.#oldHasPairs : this.#newHasPairs)) {
      this.#check(dbiName, key);
      return;
    }
    const pair = encodePair(
      key,
      side === 'old'
        ? change.oldBuffer.subarray(change.oldStart, change.oldEnd)
        : change.newBuffer.subarray(change.newStart, change.newEnd),
    );
    if (pair !== undefined) {
      this.#check(dbiName, pair);
    }
    // No shadow key can stand for it: it is reported, and the others go on.
    else if (side === 'new') {
      noteInvalid(this.#options.invalid, dbiName, key.toString('latin1'));
    } else {
      this.#options.invalid.delete(`${dbiName}\0${key.toString('latin1')}`);
    }
  }

  #check(dbiName: string, key: Buffer): void {
    const { sides, behind, invalid, leftOut } = this.#options;
    const both = sides.of(dbiName);
    both.look(key);
    if (both.isTooLarge && both.hasMain) {
      leftOut.note(dbiName, key.toString('latin1'), both.mainEnd - both.mainStart);
    } else {
      leftOut.forget(dbiName, key.toString('latin1'));
    }
    if (both.isAmbiguous) {
      noteInvalid(invalid, dbiName, key.toString('latin1'));
    } else if (invalid.size > 0) {
      invalid.delete(`${dbiName}\0${key.toString('latin1')}`);
    }
    if (!both.isInStep) {
      behind.add(dbiName, key.toString('latin1'));
    }
  }

  #onRegister(shadowName: string, key: Buffer, change: DiffChange): void {
    if (!change.hasNew) {
      return;
    }
    const { newBuffer, newStart, newEnd } = change;
    if (!isValidValue(newBuffer, newStart, newEnd)) {
      return;
    }
    if (this.#options.merged.has(txnIdAt(newBuffer, newStart))) {
      return;
    }
    this.pending.add(shadowName, key.toString('latin1'));
    this.newChanges += 1;
    const timeHi = timeHiAt(newBuffer, newStart);
    const timeLo = timeLoAt(newBuffer, newStart);
    this.#highest.note(timeHi, timeLo);
    if (isAbove(timeHi, timeLo, this.#futureHi, this.#futureLo)) {
      this.futureEntries += 1;
    }
  }
}

function hasPairs(record: DbRecord | undefined): boolean {
  return ((record?.flags ?? 0) & MDB_DUPSORT) !== 0;
}
