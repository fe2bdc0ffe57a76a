import {
  FLAG_DELETED,
  VALUE_HEADER_BYTES,
  writeValueHeader,
  setTxnId,
} from '../../../protocol/value-header.ts';
import type { VersionVector } from '../../../protocol/version-vector.ts';
import type { PackedPut, WriteTxn } from '../environment.ts';
import type { ValueMap } from '../changes/value-map.ts';
import { REMOVED, type WrittenValues } from '../changes/own-writes.ts';
import type { PackedRow } from '../packed-entries.ts';
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
  /** As {@link put}, of packed native values from `at` on: `atMost` of them. See `WriteTxn.putPacked`. */
  putPacked(row: PackedRow, at: number, atMost: number): PackedPut;
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

/** What a {@link SessionTxn} is made of. */
export type SessionTxnParts = {
  /** `_sync_state` as of the state that the transaction starts from. */
  readonly state: SyncState;
  readonly vector: SavedVector;
  /** Takes what is to be done after the commit. */
  readonly afterCommit: (() => void)[];
  /** Takes what is put. */
  readonly written: WrittenValues;
  readonly local: ValueMap;
  readonly lockedMs: number;
  readonly settle: ((dbiName: string, key: Buffer) => void) | undefined;
  readonly quietSince: number;
  /** Called with each value before it is put. */
  readonly alsoPut: ((dbiName: string, key: Buffer, value: Buffer) => void) | undefined;
  /** Whoever writes `_sync_state` writes these, too. */
  readonly lacksPageOrder: boolean;
};

/** What the work of a transaction sees of it. */
export function sessionTxn(txn: WriteTxn, parts: SessionTxnParts): SessionTxn {
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
    putPacked: packedPut(txn, { written, alsoPut }),
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

function packedPut(
  txn: WriteTxn,
  { written, alsoPut }: Pick<SessionTxnParts, 'written' | 'alsoPut'>,
): SessionTxn['putPacked'] {
  return (row, at, atMost) => {
    if (alsoPut !== undefined) {
      for (const entry of entriesOf(row, at, atMost)) {
        alsoPut(row.dbiName, row.key(entry), row.value(entry));
      }
    }
    const part = txn.putPacked(row, at, atMost);
    written.addPacked(row, at, part.next);
    return part;
  };
}

/** Entries of a row from `start` on, `atMost` of them, but those that are left out. */
function* entriesOf(row: PackedRow, start: number, atMost: number): Generator<number> {
  let at = start;
  for (let passed = 0; at < row.end && passed < atMost; passed += 1) {
    if (!row.isLeftOut(at)) {
      yield at;
    }
    at = row.next(at);
  }
}

function deletion(): Buffer {
  const value = Buffer.alloc(VALUE_HEADER_BYTES);
  writeValueHeader(value, 0, { timeHi: 0, timeLo: 0, txnId: 0, flags: FLAG_DELETED });
  return value;
}
