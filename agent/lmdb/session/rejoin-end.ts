import { SyncError } from '../../../protocol/errors.ts';
import type { FinishRejoinOptions, RejoinResult } from '../local-database.ts';
import type { KeyHashes } from '../key-hashes.ts';
import { changeSome, type SentMark, type WalkPosition, type WalkResult } from './register-walk.ts';
import type { Session } from './session.ts';

/** What is remembered from the begin of a rejoin to its end. */
export type RejoinStart = {
  /** The keys of everything that was merged since. */
  readonly seen: KeyHashes;
  /** As of the begin: an object that was stored after it may not be among those that were read. */
  readonly sent: SentMark;
  /** {@link UploadedMarker.version} then. If it has moved on, what was read before was merged in part. */
  readonly markerVersion: number;
};

/**
 * The end of a rejoin, when the whole bucket was read: `seen` are all its keys. What was uploaded or merged before and
 * is not in the bucket any more was swept everywhere else while this host was away: it goes here, too. What was never
 * sent stays; where it is too old to be ordered against tombstones that are gone, it counts as written now.
 */
export async function finishRejoin(
  session: Session,
  options: FinishRejoinOptions & RejoinStart,
): Promise<Omit<RejoinResult, 'detection'>> {
  const { seen, sent, markerVersion, othersWrote, staleBeforeNs, nowNs } = options;
  let dropped = 0;
  let stamped = 0;
  let from: WalkPosition | undefined;
  do {
    await session.refresh();
    session.order.requireChecked();
    if (session.marker.version !== markerVersion) {
      throw new SyncError('TRANSACTION_FAILED', 'a DBI that was left out is in order again', {
        retryable: true,
      });
    }
    session.requireRepaired();
    const slice: WalkResult = changeSome(session, {
      from,
      sent,
      lockMs: session.options.maxLockHoldMs,
      stampNs: nowNs,
      decide: ({ dbiName, key, sent, timestampNs }) => {
        if (seen.has(dbiName, key, 0, key.length)) {
          return 'keep';
        }
        if (sent) {
          return othersWrote ? 'remove' : 'keep';
        }
        return timestampNs < staleBeforeNs ? 'stamp' : 'keep';
      },
    });
    dropped += slice.removed;
    stamped += slice.stamped;
    from = slice.next;
  } while (from !== undefined);
  return { dropped, stamped };
}
