import {
  FLAG_DELETED,
  VALUE_HEADER_BYTES,
  writeValueHeader,
  setTxnId,
} from '../../../protocol/value-header.ts';
import type { VersionVector } from '../../../protocol/version-vector.ts';
import type { WriteTxn } from '../environment.ts';
import type { ValueMap } from '../changes/value-map.ts';
import { REMOVED, type WrittenValues } from '../changes/own-writes.ts';
import { writePageOrder } from '../page-order.ts';
import type { Meta } from '../pages/data-file.ts';
import type { SavedVector } from '../saved-vector.ts';
import { writeSyncState, type SyncState, type SyncStateUpdate } from '../sync-state.ts';

/** A register that says "deleted", whatever its time. */
const DELETION = deletion();

/** What is known when the last write of a merge is in. */
export type MergedState = {
  /** What the merge adds to the vector; see `SavedVector.rising`. */
  readonly rising: VersionVector;
  readonly rejoinBeforeNs?: bigint | undefined;
  readonly maxTsNs: bigint;
};

/** What `Session.transact` gives to its work. */
export interface SessionTxn {
  readonly txnId: number;
  readonly committed: Meta;
  /** When the lock was won, by `performance.now()`. */
  readonly lockedMs: number;
  /** Puts a native value whose header's transaction id is filled in here. */
  put(dbiName: string, key: Buffer, value: Buffer): void;
  /** As {@link put}, of an entry that counts as a local change. */
  putLocal(dbiName: string, key: Buffer, value: Buffer): void;
  /** Removes a register, and the application's entry with it: neither sent as a change nor put back. */
  remove(dbiName: string, key: Buffer): void;
  createDbi(dbiName: string, flags: number): void;
  /** Local entries that this transaction has written already: what loses against one of them must not replace it. */
  readonly local: ValueMap;
  /**
   * To be called before a register is compared or written: what the application did to it, unseen, is in `local` then.
   * Does nothing where a diff has told of all changes.
   */
  settle(dbiName: string, key: Buffer): void;
  /** True if nothing local is written in this transaction, up to now: all of it counts as merged. */
  readonly onlyMerged: boolean;
  /** See `MergedTxn`. */
  readonly quietSince: number;
  /** With `together` goes what of the vector is not written yet, and `rising`, which is above what is known. */
  writeState(update: SyncStateUpdate, rising?: VersionVector): void;
}

/** `state` is `_sync_state` as of the state that the transaction starts from; what is put is added to `written`. */
export function sessionTxn(
  txn: WriteTxn,
  parts: {
    state: SyncState;
    vector: SavedVector;
    /** Takes what is to be done after the commit. */
    afterCommit: (() => void)[];
    written: WrittenValues;
    local: ValueMap;
    lockedMs: number;
    settle: ((dbiName: string, key: Buffer) => void) | undefined;
    quietSince: number;
    /** Called with each value before it is put. */
    alsoPut: ((dbiName: string, key: Buffer, value: Buffer) => void) | undefined;
    /** Whoever writes `_sync_state` writes these, too. */
    lacksPageOrder: boolean;
  },
): SessionTxn {
  const { state, vector, afterCommit, written, local, quietSince, alsoPut } = parts;
  const { lockedMs, settle } = parts;
  const put = (dbiName: string, key: Buffer, value: Buffer) => {
    alsoPut?.(dbiName, key, value);
    setTxnId(value, txn.txnId);
    txn.put(dbiName, key, value);
    written.add(dbiName, key, value);
  };
  return {
    txnId: txn.txnId,
    committed: txn.committed,
    local,
    lockedMs,
    settle: (dbiName, key) => settle?.(dbiName, key),
    get onlyMerged() {
      return local.size === 0;
    },
    quietSince,
    put,
    putLocal: (dbiName, key, value) => {
      put(dbiName, key, value);
      local.set(dbiName, key.toString('latin1'), value);
    },
    remove: (dbiName, key) => {
      alsoPut?.(dbiName, key, DELETION);
      txn.remove(dbiName, key);
      written.add(dbiName, key, REMOVED);
    },
    createDbi: (dbiName, flags) => {
      txn.createDbi(dbiName, flags);
      written.dataChanged = true;
    },
    writeState: (update, rising) => {
      writeSyncState(txn, state, update);
      if (parts.lacksPageOrder) {
        writePageOrder(txn);
      }
      if (update.together !== undefined) {
        afterCommit.push(vector.save(txn, rising));
      }
    },
  };
}

function deletion(): Buffer {
  const value = Buffer.alloc(VALUE_HEADER_BYTES);
  writeValueHeader(value, 0, { timeHi: 0, timeLo: 0, txnId: 0, flags: FLAG_DELETED });
  return value;
}
