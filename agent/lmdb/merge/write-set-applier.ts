import { noteInvalid } from '../changes/stored-value.ts';
import type { Write } from './collector.ts';
import { listDbis, type Meta } from '../pages/data-file.ts';
import type { MergedState, SessionTxn } from '../session/txn.ts';
import type { Session } from '../session/session.ts';
import { WRITES_PER_CLOCK_LOOK } from '../limits.ts';
import { bytesPerTxn, entryBytes } from './room.ts';
import { replaces, StoredRegisters } from '../changes/stored-registers.ts';
import { TouchedKeySet } from '../touched-keys.ts';

export type WriteSet = {
  readonly writes: readonly Write[];
  /** DBIs to create, with their flags. */
  readonly missingDbis: ReadonlyMap<string, number>;
  /** What the writes add to the trees. */
  readonly growthBytes: number;
  /** Of the last writes of a merge: the vector goes with them, and only with them. */
  readonly last?: MergedState;
};

/** Of the time that the lock may be held, the part that is planned with; the rest is for what goes slower than before. */
const PLANNED_PART = 0.6;

/**
 * Writes what a merge has found to differ. As one transaction, so that readers see a delta whole, or, where that
 * would hold the lock too long, as several; how long a commit takes is learned from the ones before.
 */
export class WriteSetApplier {
  changed = 0;
  transactions = 0;
  lockHeldMaxMs = 0;
  lockWaitMs = 0;
  /** undefined: nobody asks for it. */
  readonly touched: TouchedKeySet | undefined;
  readonly #session: Session;
  /** How long a commit took, for each millisecond of writing before it. */
  #commitRatio = 1;

  constructor(session: Session) {
    this.#session = session;
    const { touchedKeysMax } = session.options;
    this.touched = touchedKeysMax === undefined ? undefined : new TouchedKeySet(touchedKeysMax);
  }

  apply(set: WriteSet): void {
    const { writes, missingDbis, growthBytes, last } = set;
    // Nothing differs: no transaction at all, the vector waits for the next one.
    if (
      writes.length === 0 &&
      missingDbis.size === 0 &&
      (last === undefined || this.transactions === 0)
    ) {
      return;
    }
    let comparedTxn = this.#session.basis.txnId;
    let done = 0;
    do {
      const { file, basis } = this.#session;
      const maxBytes = growthBytes > 0 ? bytesPerTxn(file, basis, growthBytes) : Infinity;
      const plannedMs = this.#session.options.maxLockHoldMs * PLANNED_PART;
      let puttingMs = 0;
      let beforeMs = 0;
      const { result, lockHeldMs, lockWaitMs } = this.#session.transact((txn) => {
        const startedMs = performance.now();
        // What the transaction had to do before counts, too.
        beforeMs = startedMs - txn.lockedMs;
        const budgetMs = Math.max(0, plannedMs - beforeMs) / (1 + this.#commitRatio);
        for (const [name, flags] of missingDbis) {
          txn.createDbi(name, flags);
        }
        // Where nobody else has committed since the comparison, it still holds.
        const isTrue = txn.committed.txnId === comparedTxn && txn.onlyMerged;
        const recheckAt = isTrue ? undefined : txn.committed;
        const part = this.#putSome(txn, {
          writes,
          from: done,
          untilMs: startedMs + budgetMs,
          maxBytes,
          recheckAt,
        });
        const isLast = part.next >= writes.length && last !== undefined;
        if (part.put > 0 || isLast) {
          const update = {
            ...(isLast ? this.#session.mergeUpdate(last) : {}),
            ...(txn.onlyMerged
              ? { addMerged: { txnId: txn.txnId, quietSince: txn.quietSince } }
              : {}),
          };
          txn.writeState(update, last?.rising);
        }
        puttingMs = performance.now() - startedMs;
        return { ...part, txnId: txn.txnId, rechecked: recheckAt !== undefined };
      });
      done = result.next;
      // Once somebody else has committed, what is left was compared with another state, in every later slice, too.
      const isStillTrue = !result.rechecked && this.#session.basis.txnId === result.txnId;
      comparedTxn = isStillTrue ? result.txnId : -1;
      this.changed += result.put;
      this.transactions += 1;
      this.lockHeldMaxMs = Math.max(this.lockHeldMaxMs, lockHeldMs);
      this.lockWaitMs += lockWaitMs;
      if (puttingMs > 1) {
        const ratio = (lockHeldMs - beforeMs - puttingMs) / puttingMs;
        // A disk that was slow once (344 ms for one commit among 560, 10,000,000 entries) is slow again soon.
        this.#commitRatio = Math.max(0.1, ratio, this.#commitRatio * 0.9);
      }
    } while (done < writes.length);
  }

  #putSome(
    txn: SessionTxn,
    options: {
      writes: readonly Write[];
      from: number;
      untilMs: number;
      /** What may be put, where room in the map is short. */
      maxBytes: number;
      recheckAt: Meta | undefined;
    },
  ): { next: number; put: number } {
    const { writes, from, untilMs, maxBytes, recheckAt } = options;
    const { pageSize } = this.#session.file;
    const stillWins = recheckAt === undefined ? undefined : this.#recheck(recheckAt, txn);
    let put = 0;
    let bytes = 0;
    for (let at = from; at < writes.length; at += 1) {
      const write = writes[at];
      if (write === undefined) {
        break;
      }
      if (stillWins === undefined || stillWins(write)) {
        txn.put(write.dbiName, write.key, write.value);
        this.touched?.add(write.dbiName, write.key);
        put += 1;
        if (maxBytes < Infinity) {
          bytes += entryBytes(write.key.length, write.value.length, pageSize);
          if (bytes > maxBytes) {
            return { next: at + 1, put };
          }
        }
      }
      if ((at - from) % WRITES_PER_CLOCK_LOOK === WRITES_PER_CLOCK_LOOK - 1) {
        if (performance.now() > untilMs) {
          return { next: at + 1, put };
        }
      }
    }
    return { next: writes.length, put };
  }

  /** Compares once more, with the state that the transaction starts from and the local entries that it has written. */
  #recheck(committed: Meta, txn: SessionTxn): (write: Write) => boolean {
    const { file, changes } = this.#session;
    const stored = new StoredRegisters(file, listDbis(file, committed));
    return (write) => {
      txn.settle(write.dbiName, write.key);
      const ours = txn.local.get(write.dbiName, write.key.toString('latin1'));
      if (ours !== undefined) {
        return replaces(write.value, ours);
      }
      const outcome = stored.compare(write);
      if (outcome === 'invalid') {
        noteInvalid(changes.invalid, write.dbiName, write.key.toString('latin1'));
      }
      return outcome === 'wins';
    };
  }
}
