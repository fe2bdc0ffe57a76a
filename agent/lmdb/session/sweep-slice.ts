import type { SweepOptions, SweepSlice } from '../local-database.ts';
import { changeSome } from './register-walk.ts';
import type { Session } from './session.ts';

/** One slice of a sweep: tombstones older than `cutoffNs` go that are in stored objects, or came from them. */
export function sweepSlice(session: Session, options: SweepOptions): Omit<SweepSlice, 'detection'> {
  const { from, cutoffNs, lockMs, rejoinBeforeNs } = options;
  const result = changeSome(session, {
    from: from && { dbiName: from.dbiName, key: Buffer.from(from.key) },
    lockMs,
    stampNs: 0n,
    removal: { rejoinBeforeNs, droppedNs: rejoinBeforeNs },
    decide: ({ deleted, timestampNs, sent }) =>
      deleted && sent && timestampNs < cutoffNs ? 'remove' : 'keep',
  });
  const { next, entries, tombstones, removed, transactions } = result;
  return { next, entries, tombstones, removed, transactions };
}
