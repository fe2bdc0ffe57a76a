import { SyncError } from '../../../protocol/errors.ts';
import { readSnapshot } from '../../../protocol/snapshot-reader.ts';
import { readSpool } from '../../spool.ts';
import type { KeyHashes } from '../key-hashes.ts';
import { WRITE_SET_BYTES } from '../limits.ts';
import type { MergeRequest } from '../local-database.ts';
import { listDbis } from '../pages/data-file.ts';
import type { Session } from '../session/session.ts';
import { tooManyDbis } from '../schema/merge-target.ts';
import { MergeCollector, type Write } from './collector.ts';
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
 * Errors: SNAPSHOT_CORRUPT, SNAPSHOT_INCOMPATIBLE, SNAPSHOT_REJECTED, SNAPSHOT_DBIS_EXCEED; MAP_FULL and TRANSACTION_FAILED.
 */
export async function mergeObject(
  session: Session,
  request: MergeRequest,
  options: MergeObjectOptions,
): Promise<MergedObject> {
  const applied = new WriteSetApplier(session);
  // First pass: everything is checked, nothing applied. Complete when the writes fitted into memory.
  let complete = true;
  const checked = collectorOf(session, options, () => {
    complete = false;
    return 'check only';
  });
  await readSnapshot(readSpool(request.spool), checked);
  if (complete) {
    applyLast(session, checked, { request, applied });
    return { checked, applied };
  }
  // Now it is read again and applied slice by slice.
  const collector: MergeCollector = collectorOf(session, options, (writes) => {
    // All DBIs with the first slice: where they do not fit, nothing has been written.
    applySet(session, applied, { writes, missingDbis: checked.missingDbis });
    return 'continue';
  });
  await readSnapshot(readSpool(request.spool), collector);
  applyLast(session, collector, { request, applied });
  return { checked, applied };
}

/** The last writes of a merge. The vector goes with them. */
function applyLast(
  session: Session,
  { writes, missingDbis, maxTsNs }: MergeCollector,
  { request, applied }: { request: MergeRequest; applied: WriteSetApplier },
): void {
  applySet(session, applied, { writes, missingDbis, last: { ...request, maxTsNs } });
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
  flush: (writes: Write[]) => 'continue' | 'check only',
): MergeCollector {
  return new MergeCollector({
    file: session.file,
    dbis: () => listDbis(session.file, session.basis),
    target: session.targets,
    refused: session.order.refused,
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
