import { readSnapshot } from '../../../protocol/snapshot-reader.ts';
import { readSpool } from '../../spool.ts';
import type { KeyHashes } from '../key-hashes.ts';
import { WRITE_SET_BYTES } from '../limits.ts';
import type { MergeRequest } from '../local-database.ts';
import { listDbis } from '../pages/data-file.ts';
import type { Session } from '../session/session.ts';
import { MergeCollector, type Write } from './collector.ts';
import { WriteSetApplier } from './write-set-applier.ts';

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
 * Errors: SNAPSHOT_CORRUPT, SNAPSHOT_INCOMPATIBLE, SNAPSHOT_REJECTED; MAP_FULL and TRANSACTION_FAILED.
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
    applyLast(checked, { request, applied });
    return { checked, applied };
  }
  // Now it is read again and applied slice by slice.
  const collector: MergeCollector = collectorOf(session, options, (writes) => {
    applied.apply({ writes, missingDbis: collector.missingDbis });
    return 'continue';
  });
  await readSnapshot(readSpool(request.spool), collector);
  applyLast(collector, { request, applied });
  return { checked, applied };
}

/** The last writes of a merge. The vector goes with them. */
function applyLast(
  { writes, missingDbis, maxTsNs }: MergeCollector,
  { request, applied }: { request: MergeRequest; applied: WriteSetApplier },
): void {
  applied.apply({ writes, missingDbis, last: { ...request, maxTsNs } });
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
    seenKeys,
    maxBytes: WRITE_SET_BYTES,
    flush,
  });
}
