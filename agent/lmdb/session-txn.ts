import type { WriteTxn } from './environment.ts';
import type { ValueMap } from './change-classifier.ts';
import type { WrittenValues } from './own-writes.ts';
import type { Meta } from './page.ts';
import { setTxnId } from './put-back.ts';
import { writeSyncState, type SyncState, type SyncStateUpdate } from './sync-state.ts';

/** What `Session.transact` gives to its work. */
export interface SessionTxn {
  readonly txnId: number;
  readonly committed: Meta;
  /** Puts a native value whose header's transaction id is filled in here. */
  put(dbiName: string, key: Buffer, value: Buffer): void;
  createDbi(dbiName: string, flags: number): void;
  /** Local entries that this transaction has written already: what loses against one of them must not replace it. */
  readonly local: ValueMap;
  /** True if nothing local was put back in this transaction, so that all of it counts as merged. */
  readonly onlyMerged: boolean;
  /** See `MergedTxn`. */
  readonly quietSince: number;
  writeState(update: SyncStateUpdate): void;
}

/** `state` is `_sync_state` as of the state that the transaction starts from; what is put is added to `written`. */
export function sessionTxn(
  txn: WriteTxn,
  parts: {
    state: SyncState;
    written: WrittenValues;
    local: ValueMap;
    onlyMerged: boolean;
    quietSince: number;
    /** Called with each value before it is put. */
    alsoPut: ((dbiName: string, key: Buffer, value: Buffer) => void) | undefined;
  },
): SessionTxn {
  const { state, written, local, onlyMerged, quietSince, alsoPut } = parts;
  return {
    txnId: txn.txnId,
    committed: txn.committed,
    local,
    onlyMerged,
    quietSince,
    put: (dbiName, key, value) => {
      alsoPut?.(dbiName, key, value);
      setTxnId(value, txn.txnId);
      txn.put(dbiName, key, value);
      written.add(dbiName, key, value);
    },
    createDbi: (dbiName, flags) => {
      txn.createDbi(dbiName, flags);
      written.dataChanged = true;
    },
    writeState: (update) => writeSyncState(txn, state, update),
  };
}
