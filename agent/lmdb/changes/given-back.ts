import { SyncError } from '../../../protocol/errors.ts';

/**
 * Thrown out of a transaction before it has written anything, because what the application did just before takes too
 * long to be dealt with inside. The lock goes back, the same is done without it, and the transaction is tried again.
 */
export class LockGivenBack extends Error {
  asSyncError(): SyncError {
    const what = 'the application changes entries faster than they can be taken over';
    return new SyncError('TRANSACTION_FAILED', what, { retryable: true, cause: this });
  }
}
