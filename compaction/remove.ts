import { SyncError } from '../protocol/errors.ts';
import { DELETE_CONCURRENCY } from './limits.ts';
import type { StoredObject } from './listing.ts';
import { type CompactOptions, timeLeftMs } from './run-context.ts';

/** What became of deletions. */
export type Removal = {
  /** Names that were deleted; in a dry run: that would be. */
  readonly deleted: readonly string[];
  readonly failedDeletes: number;
};

/**
 * Deletes objects, several at once, as far as the time goes; the next run deletes the rest. A failure is counted
 * and not thrown: what stays is only superfluous.
 */
export async function removeObjects(
  objects: readonly StoredObject[],
  run: CompactOptions,
): Promise<Removal> {
  const deleted: string[] = [];
  let failedDeletes = 0;
  let denied = false;
  let at = 0;
  const worker = async (): Promise<void> => {
    while (at < objects.length && !denied && timeLeftMs(run) > 0) {
      run.signal.throwIfAborted();
      const object = objects[at++];
      if (object === undefined) {
        return;
      }
      try {
        await run.store.delete(object.name, run.signal);
        deleted.push(object.name);
      } catch (error) {
        run.signal.throwIfAborted();
        if (!(error instanceof SyncError)) {
          throw error;
        }
        failedDeletes += 1;
        denied ||= error.code === 'STORAGE_DENIED';
      }
    }
  };
  await Promise.all(Array.from({ length: DELETE_CONCURRENCY }, worker));
  return { deleted, failedDeletes };
}
