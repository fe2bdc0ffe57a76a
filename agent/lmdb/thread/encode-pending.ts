import { SyncError } from '../../../protocol/errors.ts';
import type { SnapshotMeta } from '../../../protocol/snapshot.ts';
import { DisorderFound, encodeKeys, encodeRegisters, type Encoded } from '../changes/encode.ts';
import type { Meta } from '../pages/data-file.ts';
import type { Session } from '../session/session.ts';

type SpoolOptions = { readonly memoryBytes: number; readonly folder: string };

/** What is pending, with its current values. Values that a merge has written meanwhile are left out. */
export async function encodePending(
  session: Session,
  { snapshotMeta, spool }: { readonly snapshotMeta: SnapshotMeta; readonly spool: SpoolOptions },
): Promise<Encoded> {
  const { file, basis } = session;
  const uploadedTxn = session.marker.txnId ?? 0;
  const { pending, invalid, leftOut } = session.changes;
  const { merged } = session.state;
  const dbis = session.synced(basis);
  if (!pending.overflowed) {
    const keys = pending;
    return encodeKeys(file, { dbis, keys, leftOut, merged, snapshotMeta, spool });
  }
  // Too many to remember: as at start, the headers tell which they are.
  const includes = (txnId: number) => (txnId > uploadedTxn || txnId === 0) && !merged.has(txnId);
  const options = { dbis, snapshotMeta, spool, includes, invalid, leftOut };
  const encoding = encodeRegisters(file, options);
  const { maxTsNs, ...encoded } = await encoding.catch((error: unknown) => {
    throw foundDisorder(session, error);
  });
  session.order.noteChecked();
  session.changes.raiseMaxTs(maxTsNs);
  return encoded;
}

/** The whole of one state, which must stay pinned until this resolves. */
export async function encodeState(
  session: Session,
  {
    meta,
    snapshotMeta,
    spool,
  }: {
    readonly meta: Meta;
    readonly snapshotMeta: SnapshotMeta;
    readonly spool: SpoolOptions;
  },
): Promise<Encoded> {
  const { invalid, leftOut } = session.changes;
  const dbis = session.synced(meta);
  const options = { dbis, snapshotMeta, spool, invalid, leftOut };
  const { maxTsNs, ...encoded } = await encodeRegisters(session.file, options);
  // At a first start nobody has looked at the entries before.
  session.changes.raiseMaxTs(maxTsNs);
  session.order.noteChecked();
  return encoded;
}

/** A DBI that got out of order unseen is left alone from now on; the next try encodes the others. */
export function foundDisorder(session: Session, error: unknown): unknown {
  if (!(error instanceof DisorderFound)) {
    return error;
  }
  session.order.suspect(error.dbiName);
  return new SyncError('TRANSACTION_FAILED', `${error.message}: the others are sent next`, {
    retryable: true,
    cause: error,
  });
}
