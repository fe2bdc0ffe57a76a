import {
  isValidValue,
  txnIdAt,
  isDeletedAt,
  timestampNsAt,
  setTimestampNs,
} from '../../../protocol/value-header.ts';
import { isAtKey, PageCursor } from '../pages/cursor.ts';
import type { Meta } from '../pages/data-file.ts';
import type { Session } from './session.ts';
import { WRITES_PER_CLOCK_LOOK } from '../limits.ts';
import { wouldChange, type SyncStateUpdate } from '../sync-state.ts';
import type { TxnRanges } from '../txn-ranges.ts';

/** A register that {@link changeSome} looks at; borrowed, valid during the call. */
type WalkedRegister = {
  readonly dbiName: string;
  readonly key: Buffer;
  readonly deleted: boolean;
  readonly timestampNs: bigint;
  /** Its content is in an object that is stored, or came from one: nothing is lost with it. */
  readonly sent: boolean;
};

/** What is to become of a register. */
type Decision = 'keep' | 'remove' | 'stamp';

/** Where a walk over all registers goes on. */
export type WalkPosition = { readonly dbiName: string; readonly key: Buffer };

export type WalkOptions = {
  readonly from: WalkPosition | undefined;
  readonly decide: (register: WalkedRegister) => Decision;
  /** The time that a register gets that is to be stamped: it counts as a local change of now. */
  readonly stampNs: bigint;
  /** How long the write lock may be held. */
  readonly lockMs: number;
  /** What counts as sent; the session's own marker and merges unless given. */
  readonly sent?: SentMark | undefined;
  /** Written in the transaction that removes something. */
  readonly removal?: SyncStateUpdate | undefined;
};

/** Entries of transactions up to `uploadedTxn`, and those of merges, are in stored objects or came from them. */
export type SentMark = { readonly uploadedTxn: number | undefined; readonly merged: TxnRanges };

export type WalkResult = {
  /** undefined: this was the end. */
  readonly next: WalkPosition | undefined;
  /** Of what was walked over: registers that stay, and tombstones among them. */
  readonly entries: number;
  readonly tombstones: number;
  readonly removed: number;
  readonly stamped: number;
  readonly transactions: number;
};

type Found = {
  readonly dbiName: string;
  readonly key: Buffer;
  readonly value: Buffer;
  readonly decision: 'remove' | 'stamp';
  /** Counts of what stays before it. */
  readonly entries: number;
  readonly tombstones: number;
};

/** Registers looked at, found, and bytes held in one call: a few ten milliseconds of reading at most. */
const MAX_WALKED = 200_000;
const MAX_FOUND = 20_000;
const MAX_FOUND_BYTES = 4 * 1024 * 1024;
/** Of the time that the lock may be held, the part in which is written; the rest is for the commit. */
const WRITING_PART = 0.4;

/**
 * Walks over a bounded number of registers without the write lock, and then removes (or stamps with a new time) those
 * that `decide` has chosen, in at most one short write transaction. The session must have been refreshed right before.
 */
export function changeSome(session: Session, options: WalkOptions): WalkResult {
  const walked = walk(session, options);
  const { found } = walked;
  const rest = { next: walked.next, entries: walked.entries, tombstones: walked.tombstones };
  if (found.length === 0) {
    return { ...rest, removed: 0, stamped: 0, transactions: 0 };
  }
  const readAt = session.basis.txnId;
  const { result } = session.transact((txn) => {
    const untilMs = txn.lockedMs + options.lockMs * WRITING_PART;
    const isSame = txn.committed.txnId === readAt ? undefined : sameValues(session, txn.committed);
    let removed = 0;
    let stamped = 0;
    const { removal } = options;
    if (removal !== undefined && wouldChange(session.state, removal)) {
      txn.writeState(removal);
    }
    for (const [at, one] of found.entries()) {
      if (at > 0 && at % WRITES_PER_CLOCK_LOOK === 0 && performance.now() > untilMs) {
        const { dbiName, key, entries, tombstones } = one;
        return { next: { dbiName, key }, entries, tombstones, removed, stamped };
      }
      // Somebody has committed since it was read: what changed is no longer what was decided on.
      if (isSame?.(one) === false) {
        continue;
      }
      txn.settle(one.dbiName, one.key);
      if (txn.local.get(one.dbiName, one.key.toString('latin1')) !== undefined) {
        continue;
      }
      if (one.decision === 'remove') {
        txn.remove(one.dbiName, one.key);
        removed += 1;
      } else {
        const value = Buffer.from(one.value);
        setTimestampNs(value, options.stampNs);
        txn.putLocal(one.dbiName, one.key, value);
        session.changes.pending.add(one.dbiName, one.key.toString('latin1'));
        stamped += 1;
      }
    }
    return { ...rest, removed, stamped };
  });
  return { ...result, transactions: 1 };
}

function walk(
  session: Session,
  { from, decide, sent: mark }: WalkOptions,
): { found: Found[]; next: WalkPosition | undefined; entries: number; tombstones: number } {
  const { file, basis, state, changes } = session;
  const { uploadedTxn = -1, merged } = mark ?? {
    uploadedTxn: session.marker.txnId,
    merged: state.merged,
  };
  const found: Found[] = [];
  let walked = 0;
  let bytes = 0;
  let entries = 0;
  let tombstones = 0;
  const dbis = [...session.synced(basis)].toSorted(([a], [b]) => (a < b ? -1 : 1));
  for (const [dbiName, { record }] of dbis) {
    if (from !== undefined && dbiName < from.dbiName) {
      continue;
    }
    const cursor = new PageCursor(file, record);
    const isHere = from?.dbiName === dbiName;
    let more = isHere ? cursor.seek(from.key, 0, from.key.length) : cursor.next();
    for (; more; more = cursor.next()) {
      const { keyBuffer, keyStart, keyEnd, valueStart, valueEnd } = cursor;
      const key = keyBuffer.subarray(keyStart, keyEnd);
      if (walked >= MAX_WALKED || found.length >= MAX_FOUND || bytes >= MAX_FOUND_BYTES) {
        return { found, next: { dbiName, key: Buffer.from(key) }, entries, tombstones };
      }
      walked += 1;
      // No object ever had it: that it is in none says nothing.
      if (changes.leftOut.isTooLarge(keyEnd - keyStart, valueEnd - valueStart)) {
        continue;
      }
      const { valueBuffer } = cursor;
      if (!isValidValue(valueBuffer, valueStart, valueEnd)) {
        continue;
      }
      const deleted = isDeletedAt(valueBuffer, valueStart);
      const txnId = txnIdAt(valueBuffer, valueStart);
      const decision = decide({
        dbiName,
        key,
        deleted,
        timestampNs: timestampNsAt(valueBuffer, valueStart),
        sent:
          // Migrations write 0: such an entry counts as unsent at every start.
          txnId !== 0 &&
          (txnId <= uploadedTxn || merged.has(txnId) || state.merged.has(txnId)) &&
          !changes.pending.has(dbiName, key.toString('latin1')),
      });
      if (decision !== 'keep') {
        const value = Buffer.from(valueBuffer.subarray(valueStart, valueEnd));
        found.push({ dbiName, key: Buffer.from(key), value, decision, entries, tombstones });
        bytes += key.length + value.length;
      }
      if (decision === 'remove') {
        continue;
      }
      entries += 1;
      if (deleted) {
        tombstones += 1;
      }
    }
  }
  return { found, next: undefined, entries, tombstones };
}

/** Compares with the state that a transaction starts from. */
function sameValues(session: Session, committed: Meta): (found: Found) => boolean {
  const dbis = session.synced(committed);
  const cursors = new Map<string, PageCursor>();
  return ({ dbiName, key, value }) => {
    const record = dbis.get(dbiName)?.record;
    if (record === undefined) {
      return false;
    }
    const cursor = cursors.get(dbiName) ?? new PageCursor(session.file, record);
    cursors.set(dbiName, cursor);
    if (!cursor.seek(key, 0, key.length) || !isAtKey(cursor, key)) {
      return false;
    }
    const { valueStart, valueEnd } = cursor;
    return (
      valueEnd - valueStart === value.length &&
      value.equals(cursor.valueBuffer.subarray(valueStart, valueEnd))
    );
  };
}
