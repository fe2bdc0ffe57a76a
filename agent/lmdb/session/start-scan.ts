import { instanceOfStream } from '../../../protocol/object-name.ts';
import type { VersionVector } from '../../../protocol/version-vector.ts';
import { mayHaveVanished } from '../changes/scan.ts';
import { compareAll, fillUnregistered, type CatchUpHost } from '../schema/shadow-update.ts';
import type { LocalChanges } from '../changes/local-changes.ts';
import { schemaModeOf, type DatabaseOptions } from '../local-database.ts';
import { hasCounts, isRenumbered, type SyncState } from '../sync-state.ts';
import type { SavedVector } from '../saved-vector.ts';
import type { Basis } from './basis.ts';
import type { OrderWatch } from './order-watch.ts';
import type { UploadedMarker } from './uploaded-marker.ts';

/** What the scan needs of its session. */
interface ScanHost extends CatchUpHost {
  readonly options: DatabaseOptions;
  readonly changes: LocalChanges;
  readonly state: SyncState;
  readonly vector: SavedVector;
  readonly marker: UploadedMarker;
  readonly order: OrderWatch;
  readonly hasData: boolean;
  readonly entries: number;
}

type StartScanParts = {
  readonly session: ScanHost;
  readonly basis: Basis;
  /** See `hasPageOrder`. */
  readonly hasPageOrder: boolean;
  /** Nothing is known to be in stored objects. */
  readonly doubtMarker: () => void;
  /** Writes that, and that no transaction is known to be a merge of ours; `first` is written before the rest of the vector. */
  readonly forgetMerged: (first?: VersionVector) => void;
  readonly forgetVector: () => void;
};

/** Finds what is not uploaded as of the first pin. */
export function scanAtStart(parts: StartScanParts): void {
  const { session, basis } = parts;
  const { state, options } = session;
  // What went out in another schema mode was left out everywhere, and what came in was another value.
  const isOtherMode = state.schemaMode !== undefined && state.schemaMode !== schemaModeOf(options);
  // In a compacted copy transactions count from 1 again: marker and ids of merges belong to another count, and with
  // them changes of the next transactions would pass for sent ones.
  const renumbered =
    isOtherMode ||
    isRenumbered(state, session.basis.txnId) ||
    (hasCounts(state) && !parts.hasPageOrder);
  if (renumbered) {
    parts.doubtMarker();
  }
  const { entriesAtStop, refused } = state;
  const isVectorEmpty = session.vector.positions.size === 0;
  const { shadow } = basis.schema;
  if (
    session.marker.txnId === undefined &&
    isVectorEmpty &&
    refused.size === 0 &&
    shadow === undefined
  ) {
    // Nothing was ever sent or merged: all of it is to be sent, and there is nothing to be compared with.
    basis.skipScan();
    session.order.noteUnchecked();
    if (session.hasData) {
      session.changes.pending.overflow();
    }
    if (!renumbered) {
      return;
    }
  }
  basis.requireSyncable();
  // Each of them is read by the scan, and taken in again after it if it is in order now.
  for (const [name, { uploadedTxn, syncedNs }] of refused) {
    const known = renumbered ? undefined : uploadedTxn;
    session.order.refused.suspect(name, { uploadedTxn: known, syncedNs });
  }
  const { low, changes } = basis.scanSince(session.marker.txnId ?? 0, {
    ignoresMerged: renumbered,
  });
  const { entries } = session;
  const vanished = mayHaveVanished(entriesAtStop ?? entries, { entries, changes });
  if (isOtherMode) {
    // Own objects of the other mode are made superfluous by the next full snapshot.
    const own = positionsOf(session.vector.positions, options.instance);
    session.vector.empty();
    session.vector.join(own);
  }
  // Out of order itself, it is not written until somebody has mended it.
  if (renumbered && state.isOrdered) {
    parts.forgetMerged(isOtherMode ? session.vector.positions : undefined);
  }
  if ((low || vanished) && !isVectorEmpty && !isOtherMode && state.isOrdered) {
    parts.forgetVector();
  }
  session.order.review();
  if (shadow !== undefined) {
    const filled = fillUnregistered(shadow, session);
    compareAll(shadow, session, shadow.behindAtStart, filled);
  }
}

/** The places of this instance's own streams. */
function positionsOf(vector: VersionVector, instance: string): VersionVector {
  return new Map([...vector].filter(([stream]) => instanceOfStream(stream) === instance));
}
