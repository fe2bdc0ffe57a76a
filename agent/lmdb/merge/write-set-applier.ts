import { noteInvalid } from '../changes/stored-value.ts';
import { listDbis, type Meta } from '../pages/data-file.ts';
import type { MergedState, SessionTxn } from '../session/txn.ts';
import type { Session } from '../session/session.ts';
import { WRITES_PER_CLOCK_LOOK } from '../limits.ts';
import type { PackedEntries, PackedPlace, PackedRow } from '../packed-entries.ts';
import { bytesPerTxn } from './room.ts';
import { replaces, StoredRegisters } from '../changes/stored-registers.ts';
import { LockBudget } from '../lock-budget.ts';
import { TouchedKeySet } from '../touched-keys.ts';

export type WriteSet = {
  readonly writes: PackedEntries;
  /** DBIs to create, with their flags. */
  readonly missingDbis: ReadonlyMap<string, number>;
  /** What the writes add to the trees. */
  readonly growthBytes: number;
  /** Of the last writes of a merge: the vector goes with them, and only with them. */
  readonly last?: MergedState;
};

/** Where in a set of writes the next transaction begins. */
type Position = { readonly row: number; readonly at: number };

/**
 * Writes what a merge has found to differ. As one transaction, so that readers see a delta whole, or, where that
 * would hold the lock too long, as several; see {@link LockBudget}.
 */
export class WriteSetApplier {
  changed = 0;
  transactions = 0;
  lockHeldMaxMs = 0;
  lockWaitMs = 0;
  /** undefined: nobody asks for it. */
  readonly touched: TouchedKeySet | undefined;
  readonly #session: Session;
  readonly #budget: LockBudget;

  constructor(session: Session) {
    this.#session = session;
    const { touchedKeysMax, maxLockHoldMs } = session.options;
    this.touched = touchedKeysMax === undefined ? undefined : new TouchedKeySet(touchedKeysMax);
    this.#budget = new LockBudget(maxLockHoldMs);
  }

  apply(set: WriteSet): void {
    const { writes, missingDbis, growthBytes, last } = set;
    // Nothing differs: no transaction at all, the vector waits for the next one.
    if (
      writes.count === 0 &&
      missingDbis.size === 0 &&
      (last === undefined || this.transactions === 0)
    ) {
      return;
    }
    let comparedTxn = this.#session.basis.txnId;
    let next: Position | undefined = firstOf(writes);
    do {
      const { file, basis } = this.#session;
      const maxBytes = growthBytes > 0 ? bytesPerTxn(file, basis, growthBytes) : Infinity;
      const from: Position | undefined = next;
      const { result, lockHeldMs, lockWaitMs } = this.#session.transact((txn) => {
        this.#budget.begin(txn.lockedMs);
        for (const [name, flags] of missingDbis) {
          txn.createDbi(name, flags);
        }
        // Where nobody else has committed since the comparison, it still holds.
        const isTrue = txn.committed.txnId === comparedTxn && txn.onlyMerged;
        const recheckAt = isTrue ? undefined : txn.committed;
        const part = this.#putSome(txn, { writes, from, maxBytes, recheckAt });
        const isLast = part.next === undefined && last !== undefined;
        if (part.put > 0 || isLast) {
          const update = {
            ...(isLast ? this.#session.mergeUpdate(last) : {}),
            ...(txn.onlyMerged
              ? { addMerged: { txnId: txn.txnId, quietSince: txn.quietSince } }
              : {}),
          };
          txn.writeState(update, last?.rising);
        }
        this.#budget.endWriting();
        return { ...part, txnId: txn.txnId, rechecked: recheckAt !== undefined };
      });
      ({ next } = result);
      // Once somebody else has committed, what is left was compared with another state, in every later slice, too.
      const isStillTrue = !result.rechecked && this.#session.basis.txnId === result.txnId;
      comparedTxn = isStillTrue ? result.txnId : -1;
      this.changed += result.put;
      this.transactions += 1;
      this.lockHeldMaxMs = Math.max(this.lockHeldMaxMs, lockHeldMs);
      this.lockWaitMs += lockWaitMs;
      this.#budget.learn(lockHeldMs);
    } while (next !== undefined);
  }

  /** `next`: what is left for the next transaction; undefined: nothing. */
  #putSome(
    txn: SessionTxn,
    options: {
      writes: PackedEntries;
      from: Position | undefined;
      /** What may be put, where room in the map is short. */
      maxBytes: number;
      recheckAt: Meta | undefined;
    },
  ): { next: Position | undefined; put: number } {
    const { from = { row: 0, at: 0 }, maxBytes, recheckAt } = options;
    const countAtOnce = maxBytes < Infinity ? 1 : WRITES_PER_CLOCK_LOOK;
    const { rows } = options.writes;
    const stillWins = recheckAt === undefined ? undefined : this.#recheck(recheckAt, txn);
    const { pageSize } = this.#session.file;
    let put = 0;
    let putBytes = 0;
    for (let index = from.row; index < rows.length; index += 1) {
      const row = rows[index];
      if (row === undefined) {
        break;
      }
      let at = index === from.row ? from.at : row.start;
      while (at < row.end) {
        if (stillWins !== undefined) {
          leaveOutLosers(row, at, stillWins);
        }
        const part = txn.putPacked(row, at, countAtOnce);
        this.#touch(row, at, part.next);
        put += part.put;
        putBytes += part.next - at;
        at = part.next;
        const isSpent = this.#budget.isSpent(part.dirtyPages + putBytes / pageSize);
        if (isSpent || putBytes > maxBytes) {
          const next = at < row.end ? { row: index, at } : beginningOf(rows, index + 1);
          return { next, put };
        }
      }
    }
    return { next: undefined, put };
  }

  #touch(row: PackedRow, start: number, end: number): void {
    if (this.touched?.isFull !== false) {
      return;
    }
    for (let at = start; at < end; at = row.next(at)) {
      if (!row.isLeftOut(at)) {
        this.touched.add(row.dbiName, row.key(at));
      }
    }
  }

  /** Compares once more, with the state that the transaction starts from and the local entries that it has written. */
  #recheck(committed: Meta, txn: SessionTxn): (place: PackedPlace) => boolean {
    const { file, changes } = this.#session;
    const stored = new StoredRegisters(file, listDbis(file, committed));
    return ({ row, at }) => {
      const { dbiName } = row;
      const [key, value] = [row.key(at), row.value(at)];
      txn.settle(dbiName, key);
      const ours = txn.local.get(dbiName, key.toString('latin1'));
      if (ours !== undefined) {
        return replaces(value, ours);
      }
      const outcome = stored.compare({ dbiName, key, value });
      if (outcome === 'invalid') {
        noteInvalid(changes.invalid, dbiName, key.toString('latin1'));
      }
      return outcome === 'wins';
    };
  }
}

function firstOf({ rows }: PackedEntries): Position | undefined {
  return beginningOf(rows, 0);
}

function beginningOf(rows: readonly PackedRow[], index: number): Position | undefined {
  const row = rows[index];
  return row && { row: index, at: row.start };
}

/** Of the entries up to the next look at the clock. */
function leaveOutLosers(
  row: PackedRow,
  start: number,
  stillWins: (place: PackedPlace) => boolean,
): void {
  let at = start;
  for (let seen = 0; at < row.end && seen < WRITES_PER_CLOCK_LOOK; seen += 1) {
    if (!row.isLeftOut(at) && !stillWins({ row, at })) {
      row.leaveOut(at);
    }
    at = row.next(at);
  }
}
