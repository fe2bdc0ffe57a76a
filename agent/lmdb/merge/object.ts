import { SyncError } from '../../../protocol/errors.ts';
import { readSnapshot } from '../../../protocol/snapshot-reader.ts';
import { readSpool } from '../../spool.ts';
import type { KeyHashes } from '../key-hashes.ts';
import { WRITE_SET_BYTES } from '../limits.ts';
import { schemaModeOf, type MergeRequest } from '../local-database.ts';
import type { PackedEntries } from '../packed-entries.ts';
import { listDbis } from '../pages/data-file.ts';
import type { Session } from '../session/session.ts';
import type { MergedState } from '../session/txn.ts';
import { tooManyDbis } from '../schema/merge-target.ts';
import { MergeCollector } from './collector.ts';
import { requireRoom, roomOf } from './room.ts';
import { WriteSetApplier, type WriteSet } from './write-set-applier.ts';

export type MergeObjectOptions = {
  /** Takes the keys of all entries of the object. */
  readonly seenKeys: KeyHashes | undefined;
};

/** Who has seen all of a merged object, and who has written what differed. */
export type MergedObject = {
  readonly checked: MergeCollector;
  readonly applied: WriteSetApplier;
};

/**
 * Checks a whole object, then writes into the LMDB what wins there. A damaged object changes nothing. The session must
 * have been refreshed right before.
 *
 * Errors: SNAPSHOT_CORRUPT, SNAPSHOT_INCOMPATIBLE, SNAPSHOT_REJECTED, SNAPSHOT_DBIS_EXCEED; MAP_TOO_SMALL, MAP_FULL and TRANSACTION_FAILED.
 */
export async function mergeObject(
  session: Session,
  request: MergeRequest,
  options: MergeObjectOptions,
): Promise<MergedObject> {
  const applied = new WriteSetApplier(session);
  const { rejoinBeforeNs } = request;
  // Found out here, not while the lock is held.
  const end = { rising: session.vector.rising(request.vector), rejoinBeforeNs };
  // First pass: everything is checked, nothing applied. Complete when the writes fitted into memory.
  let complete = true;
  const checked = collectorOf(session, options, () => {
    complete = false;
    return 'check only';
  });
  await readSnapshot(readSpool(request.spool), checked);
  await requireRoomFor(session, request, checked);
  if (complete) {
    applyLast(session, checked, { end, applied });
    return { checked, applied };
  }
  // Now it is read again and applied slice by slice.
  const collector: MergeCollector = collectorOf(session, options, (writes, growthBytes) => {
    // All DBIs with the first slice: where they do not fit, nothing has been written.
    applySet(session, applied, { writes, missingDbis: checked.missingDbis, growthBytes });
    return 'continue';
  });
  await readSnapshot(readSpool(request.spool), collector);
  applyLast(session, collector, { end, applied });
  return { checked, applied };
}

/** Before anything of the object is written: a part of it would help nobody, and take what the application needs. */
async function requireRoomFor(
  session: Session,
  { name, spool }: MergeRequest,
  checked: MergeCollector,
): Promise<void> {
  const { file, basis } = session;
  let counted = checked;
  // Not all of it was compared. That is made up for only where it could matter.
  if (checked.uncomparedBytes > 0) {
    if (checked.growthBytes + checked.uncomparedBytes <= roomOf(file, basis).freeBytes) {
      return;
    }
    counted = collectorOf(session, { seenKeys: undefined }, () => 'continue');
    await readSnapshot(readSpool(spool), counted);
  }
  requireRoom(file, basis, { name, bytes: counted.growthBytes, dbis: counted.grownDbis });
}

/** The last writes of a merge. The vector goes with them. */
function applyLast(
  session: Session,
  { writes, missingDbis, maxTsNs, setGrowthBytes, heldSchema }: MergeCollector,
  { end, applied }: { end: Omit<MergedState, 'maxTsNs'>; applied: WriteSetApplier },
): void {
  // Before the vector covers it.
  if (heldSchema !== undefined) {
    session.schemaHold.add(heldSchema);
  }
  applySet(session, applied, {
    writes,
    missingDbis,
    growthBytes: setGrowthBytes,
    last: { ...end, maxTsNs },
  });
}

/** Where its DBIs do not fit it is the object that is refused, once and not again with every try. */
function applySet(session: Session, applied: WriteSetApplier, set: WriteSet): void {
  try {
    applied.apply(set);
  } catch (error) {
    if (error instanceof SyncError && error.code === 'DBIS_FULL') {
      throw tooManyDbis(session.options.maxDbs, error);
    }
    throw error;
  }
}

function collectorOf(
  session: Session,
  { seenKeys }: MergeObjectOptions,
  flush: (writes: PackedEntries, growthBytes: number) => 'continue' | 'check only',
): MergeCollector {
  return new MergeCollector({
    file: session.file,
    dbis: () => listDbis(session.file, session.basis),
    target: session.targets,
    refused: session.order.refused,
    schemaMode: schemaModeOf(session.options),
    schemaVersionMax: session.schemaHold.max,
    headerPadding: session.options.headerPadding,
    futureFromNs: session.futureFromNs(),
    invalid: session.changes.invalid,
    leftOut: session.changes.leftOut,
    maxDbs: session.options.maxDbs,
    seenKeys,
    maxBytes: WRITE_SET_BYTES,
    flush,
  });
}
