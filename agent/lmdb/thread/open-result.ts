import { SyncError } from '../../../protocol/errors.ts';
import type { OpenResult } from '../local-database.ts';
import type { Session } from '../session/session.ts';

/** What a session has found that was just opened. */
export function openResult(session: Session): OpenResult {
  const { state } = session;
  return {
    ...session.takeDetection(),
    vector: new Map(session.vector.positions),
    uploadedTxn: state.uploadedTxn,
    lastSyncNs: state.lastSyncNs,
    bucketId: state.bucketId,
    entries: session.entries,
    rejoinBeforeNs: state.rejoinBeforeNs,
    was: session.kept.was,
    proof: state.proof,
    droppedNs: state.droppedNs,
  };
}

/** The error of all calls between a run that has ended and the next one. */
export function notReopened(name: string): SyncError {
  return new SyncError('ENVIRONMENT_REPLACED', `the LMDB of ${name} is not open again yet`, {
    hint: 'Nothing: it is tried again.',
    retryable: true,
  });
}
