import { isDeepStrictEqual } from 'node:util';
import type { SchemaMode } from '../../protocol/snapshot-meta.ts';
import { EMPTY_VECTOR, type VersionVector } from '../../protocol/version-vector.ts';
import { MERGED_RANGES_MAX, MERGED_REMOVED_PER_TXN } from './limits.ts';
import { PageCursor } from './pages/cursor.ts';
import { listDbis, type DataFile, type DbRecord, type Meta } from './pages/data-file.ts';
import { EMPTY_ROOT } from './pages/layout.ts';
import {
  encodeState,
  parseBigint,
  parseNumber,
  stateText,
  SYNC_STATE_DBI,
  VECTOR_PREFIX,
} from './state-value.ts';
import {
  heldSchemaText,
  parseHeldSchema,
  parseRefused,
  parseVector,
  refusedText,
  vectorText,
  type Exchanged,
  type HeldSchema,
} from './sync-state-text.ts';
import { TxnRanges, type TxnRange } from './txn-ranges.ts';
import type { WriteTxn } from './write-txn.ts';

/**
 * What must be atomic with the data, because it states facts about this LMDB's content. It goes wherever the LMDB
 * goes (copied, restored, wiped) and is right each time. The version vector beside it is a `SavedVector`.
 */
export type SyncState = {
  /** Transactions of ours that hold only merged entries, above the uploaded marker. */
  readonly merged: TxnRanges;
  /** The transaction up to which local changes are in stored objects; undefined: none is. */
  readonly uploadedTxn: number | undefined;
  readonly maxTsNs: bigint;
  readonly lastSyncNs: bigint | undefined;
  readonly bucketId: string | undefined;
  readonly entriesAtStop: number | undefined;
  /**
   * Tombstones are missing here, dropped by our sweeper or never in a state that was merged, of deletions that a host
   * may not have seen whose last complete sync is older than this.
   */
  readonly rejoinBeforeNs: bigint;
  /** A newer schema version of PowerDNS that the vector covers and this LMDB does not have: it is held back. */
  readonly heldSchema: HeldSchema | undefined;
  /** The schema mode in which all of this was noted; undefined: by an agent that did not say. */
  readonly schemaMode: string | undefined;
  /**
   * DBIs that were not in the order of their flags, each with what had been exchanged of it by then. The vector names
   * objects whose entries for them were left out.
   */
  readonly refused: ReadonlyMap<string, Exchanged>;
  /** Own places and that among published states, kept when the vector was emptied: what was known to be stored. */
  readonly was: VersionVector;
  /** The engine's own note of what proves that its objects are stored; see `StoredProof`. */
  readonly proof: string | undefined;
  /** Tombstones were dropped: objects that are not covered and were named up to this time came back. 0: none were. */
  readonly droppedNs: bigint;
  /** False: `_sync_state` itself is out of order, so nothing may be written. */
  readonly isOrdered: boolean;
};

const EMPTY_STATE: SyncState = {
  merged: new TxnRanges(),
  uploadedTxn: undefined,
  maxTsNs: 0n,
  lastSyncNs: undefined,
  bucketId: undefined,
  entriesAtStop: undefined,
  rejoinBeforeNs: 0n,
  heldSchema: undefined,
  schemaMode: undefined,
  refused: new Map(),
  was: EMPTY_VECTOR,
  proof: undefined,
  droppedNs: 0n,
  isOrdered: true,
};

const MERGED_PREFIX = 'merged/';
/** See page-order.ts: their values say nothing. */
const ORDER_PREFIX = 'order/';

/** The state as of one root, which costs the same however long the vector is. Damaged values count as missing: more is sent and merged again, nothing is lost. */
export function readSyncState(file: DataFile, record: DbRecord | undefined): SyncState {
  if (record === undefined) {
    return EMPTY_STATE;
  }
  const texts = new Map<string, string>();
  const merged: TxnRange[] = [];
  const cursor = new PageCursor(file, record, { checksOrder: true });
  while (cursor.next()) {
    const key = cursor.keyBuffer.toString('latin1', cursor.keyStart, cursor.keyEnd);
    if (key.startsWith(ORDER_PREFIX)) {
      continue;
    }
    if (key.startsWith(VECTOR_PREFIX)) {
      break;
    }
    // Of an earlier version, and long: it is read with the vector alone.
    if (key === 'vector') {
      continue;
    }
    const text = stateText(cursor.valueBuffer, cursor.valueStart, cursor.valueEnd);
    if (!key.startsWith(MERGED_PREFIX)) {
      if (text !== undefined) {
        texts.set(key, text);
      }
      continue;
    }
    const first = parseNumber(key.slice(MERGED_PREFIX.length));
    const last = text === '' ? first : parseNumber(text);
    if (first !== undefined && last !== undefined && first <= last) {
      merged.push({ first, last });
    }
  }
  return {
    merged: new TxnRanges(merged),
    uploadedTxn: parseNumber(texts.get('uploaded')),
    maxTsNs: parseBigint(texts.get('max_ts')) ?? 0n,
    lastSyncNs: parseBigint(texts.get('last_sync')),
    bucketId: texts.get('bucket'),
    entriesAtStop: parseNumber(texts.get('entries')),
    rejoinBeforeNs: parseBigint(texts.get('rejoin_before')) ?? 0n,
    heldSchema: parseHeldSchema(texts.get('held_schema')),
    schemaMode: texts.get('schema_mode'),
    refused: parseRefused(texts.get('refused')),
    was: parseVector(texts.get('was')),
    proof: texts.get('proof'),
    droppedNs: parseBigint(texts.get('dropped')) ?? 0n,
    isOrdered: cursor.isOrdered,
  };
}

/** Reads the state at one root after the other, anew only where the root has changed. */
export class SyncStateReader {
  #last: { readonly root: number; readonly state: SyncState } | undefined;

  /** The state at `meta`, whose pages are pinned since the last {@link reset}: the same root is the same content. */
  read(file: DataFile, meta: Meta): SyncState {
    const record = listDbis(file, meta).get(SYNC_STATE_DBI);
    const root = record?.root ?? EMPTY_ROOT;
    if (this.#last?.root !== root) {
      this.#last = { root, state: readSyncState(file, record) };
    }
    return this.#last.state;
  }

  reset(): void {
    this.#last = undefined;
  }
}

/** True if both say the same. */
export function isSameState(a: SyncState, b: SyncState): boolean {
  const { merged: aMerged, ...aRest } = a;
  const { merged: bMerged, ...bRest } = b;
  return isDeepStrictEqual([aRest, [...aMerged]], [bRest, [...bMerged]]);
}

/** True if it names transactions by their numbers. */
export function hasCounts({ uploadedTxn, merged }: SyncState): boolean {
  return uploadedTxn !== undefined || merged.newest !== undefined;
}

/** True for a compacted copy (`mdb_copy -c`, a usual backup): LMDB counts its transactions from 1 again. */
export function isRenumbered({ uploadedTxn = 0, merged }: SyncState, lastTxnId: number): boolean {
  return Math.max(uploadedTxn, merged.newest?.last ?? 0) > lastTxnId;
}

/** A transaction of ours that holds only merged entries. */
type MergedTxn = {
  readonly txnId: number;
  /** From this one up to `txnId` every transaction was ours and held no local entry; `txnId` itself if none did. */
  readonly quietSince: number;
};

/** What one write changes; undefined: stays, null: is removed. Marker and max_ts only come together. */
export type SyncStateUpdate = {
  readonly together?: {
    readonly uploadedTxn: number | null;
    readonly maxTsNs: bigint;
    /** undefined: nothing is held back. */
    readonly heldSchema?: HeldSchema | undefined;
    /** undefined: stays. */
    readonly schemaMode?: SchemaMode | undefined;
    readonly refused?: ReadonlyMap<string, Exchanged> | undefined;
    /** undefined: stays. */
    readonly was?: VersionVector | undefined;
    /** undefined: stays. */
    readonly proof?: string | undefined;
  };
  /** A lower one than the known is left out; null: nothing was dropped. */
  readonly droppedNs?: bigint | null | undefined;
  /** A lower one than the known is left out. */
  readonly rejoinBeforeNs?: bigint | undefined;
  readonly addMerged?: MergedTxn | undefined;
  /** Removes the ids of all merges. */
  readonly forgetMerged?: boolean | undefined;
  readonly lastSyncNs?: bigint | undefined;
  readonly bucketId?: string | undefined;
  /** null: an agent runs, and watches. */
  readonly entriesAtStop?: number | null | undefined;
};

/** Writes the update, and only values that differ from `before`, which must be the state of `txn.committed`. */
export function writeSyncState(txn: WriteTxn, before: SyncState, update: SyncStateUpdate): void {
  txn.createDbi(SYNC_STATE_DBI, 0);
  const put = (key: string, text: string, old: string | undefined) => {
    if (text !== old) {
      txn.put(SYNC_STATE_DBI, Buffer.from(key, 'latin1'), encodeState(txn, text));
    }
  };
  const remove = (key: string) => txn.remove(SYNC_STATE_DBI, Buffer.from(key, 'latin1'));
  if (update.together !== undefined) {
    const { uploadedTxn, maxTsNs, heldSchema, schemaMode, refused, was, proof } = update.together;
    if (was !== undefined) {
      put('was', vectorText(was), vectorText(before.was));
    }
    if (proof !== undefined) {
      put('proof', proof, before.proof);
    }
    if (schemaMode !== undefined) {
      put('schema_mode', schemaMode, before.schemaMode);
    }
    if (refused !== undefined && refused.size > 0) {
      put('refused', refusedText(refused), refusedText(before.refused));
    } else if (refused !== undefined && before.refused.size > 0) {
      remove('refused');
    }
    put('max_ts', String(maxTsNs), String(before.maxTsNs));
    if (uploadedTxn !== null) {
      put('uploaded', String(uploadedTxn), before.uploadedTxn?.toString());
    } else if (before.uploadedTxn !== undefined) {
      remove('uploaded');
    }
    if (heldSchema !== undefined) {
      put('held_schema', heldSchemaText(heldSchema), heldSchemaText(before.heldSchema));
    } else if (before.heldSchema !== undefined) {
      remove('held_schema');
    }
  }
  if (update.rejoinBeforeNs !== undefined && update.rejoinBeforeNs > before.rejoinBeforeNs) {
    put('rejoin_before', String(update.rejoinBeforeNs), undefined);
  }
  if (update.droppedNs === null && before.droppedNs > 0n) {
    remove('dropped');
  } else if ((update.droppedNs ?? 0n) > before.droppedNs) {
    put('dropped', String(update.droppedNs), undefined);
  }
  writeMerged(txn, before.merged, update);
  if (update.lastSyncNs !== undefined) {
    put('last_sync', String(update.lastSyncNs), before.lastSyncNs?.toString());
  }
  if (update.bucketId !== undefined) {
    put('bucket', update.bucketId, before.bucketId);
  }
  if (update.entriesAtStop === null) {
    if (before.entriesAtStop !== undefined) {
      remove('entries');
    }
  } else if (update.entriesAtStop !== undefined) {
    put('entries', String(update.entriesAtStop), before.entriesAtStop?.toString());
  }
}

/** True if the update would write anything. */
export function wouldChange(before: SyncState, update: SyncStateUpdate): boolean {
  const { together, lastSyncNs, bucketId, entriesAtStop, addMerged } = update;
  if (addMerged !== undefined) {
    return true;
  }
  if (together !== undefined) {
    if (together.maxTsNs !== before.maxTsNs) {
      return true;
    }
    if (heldSchemaText(together.heldSchema) !== heldSchemaText(before.heldSchema)) {
      return true;
    }
    if (together.schemaMode !== undefined && together.schemaMode !== before.schemaMode) {
      return true;
    }
    if (refusedText(together.refused ?? before.refused) !== refusedText(before.refused)) {
      return true;
    }
    if ((together.uploadedTxn ?? undefined) !== before.uploadedTxn) {
      return true;
    }
    if ((together.proof ?? before.proof) !== before.proof) {
      return true;
    }
    if (vectorText(together.was ?? before.was) !== vectorText(before.was)) {
      return true;
    }
  }
  const { droppedNs } = update;
  if (droppedNs === null ? before.droppedNs > 0n : (droppedNs ?? 0n) > before.droppedNs) {
    return true;
  }
  if ((update.rejoinBeforeNs ?? 0n) > before.rejoinBeforeNs) {
    return true;
  }
  if (lastSyncNs !== undefined && lastSyncNs !== before.lastSyncNs) {
    return true;
  }
  if (bucketId !== undefined && bucketId !== before.bucketId) {
    return true;
  }
  return entriesAtStop !== undefined && (entriesAtStop ?? undefined) !== before.entriesAtStop;
}

/** Brings the ids of merges up to date. */
function writeMerged(txn: WriteTxn, merged: TxnRanges, update: SyncStateUpdate): void {
  const key = (first: number) => Buffer.from(`${MERGED_PREFIX}${first}`, 'latin1');
  // Up to the marker every entry counts as sent, whoever wrote it: those ids have done their work.
  const sentTxn = update.forgetMerged === true ? Infinity : (update.together?.uploadedTxn ?? -1);
  // A host that uploads nothing while its application writes has a range for nearly every merge. The oldest go:
  // what they wrote counts as not sent, and is sent again at worst.
  const { addMerged } = update;
  const { newest } = merged;
  const joined =
    addMerged !== undefined && newest !== undefined && newest.last > sentTxn
      ? newest.last >= addMerged.quietSince
      : false;
  const added = addMerged === undefined || joined ? 0 : 1;
  let excess = merged.size + added - MERGED_RANGES_MAX;
  // Ids of another count must not stay, or a change would pass for an echo.
  let room = update.forgetMerged === true ? Infinity : MERGED_REMOVED_PER_TXN;
  for (const { first, last } of merged) {
    if ((last > sentTxn && excess <= 0) || room <= 0) {
      break;
    }
    txn.remove(SYNC_STATE_DBI, key(first));
    excess -= 1;
    room -= 1;
  }
  if (addMerged === undefined) {
    return;
  }
  if (newest !== undefined && joined) {
    txn.put(SYNC_STATE_DBI, key(newest.first), encodeState(txn, String(addMerged.txnId)));
  } else {
    txn.put(SYNC_STATE_DBI, key(addMerged.txnId), encodeState(txn, ''));
  }
}
