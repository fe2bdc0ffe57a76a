import { findBucketId, NO_BUCKET_ID } from './bucket-id.ts';
import type { Publisher } from './publisher.ts';
import type { StoredProof } from './proof/stored-proof.ts';
import type { Rejoin } from './rejoin.ts';
import type { EngineDeps } from './types.ts';
import type { VectorTracker } from './vector-tracker.ts';

/**
 * With another bucket than the `known` one (or an emptied one), what vector and marker say is not true of it: both are
 * emptied. Returns true if everything is to be sent to this bucket. Rejects when its id cannot be read.
 */
export async function checkBucket(
  deps: EngineDeps,
  parts: {
    readonly tracker: VectorTracker;
    readonly publisher: Publisher;
    readonly rejoin: Rejoin;
    readonly proof: StoredProof;
    readonly known: string | undefined;
    readonly signal: AbortSignal;
  },
): Promise<boolean> {
  const { db, store, settings, randomBytes, clock, log, observer } = deps;
  const { tracker, publisher, rejoin, proof, known, signal } = parts;
  const mayCreate = !settings.receiveOnly;
  const bucketId = await findBucketId(store, {
    mayCreate,
    known,
    randomBytes,
    onDamaged: (error) => observer.stepFailed('bucket id content', error),
    signal,
  });
  if (known === bucketId) {
    return false;
  }
  if (known === NO_BUCKET_ID) {
    // A bucket that only now got its id is the one that was synced with while it had none.
    await db.persist({ ...tracker.change, bucketId });
    return false;
  }
  if (known !== undefined) {
    log.warn(
      {},
      'this is another bucket than the one synced with before: sending and merging everything',
    );
  }
  const lastSyncNs = clock.nowNs();
  tracker.forget();
  proof.forget();
  publisher.policy.requireFirst();
  // What was merged before is in another bucket: no rejoin may take it for swept. Of an LMDB that has never been synced
  // a rejoin must know when that began, or it would never be due where no pass completes.
  rejoin.begin(lastSyncNs);
  await db.persist({ ...tracker.change, bucketId, resetMarker: true, lastSyncNs });
  return true;
}
