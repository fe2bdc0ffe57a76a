import type { SnapshotSource } from './merge/cursor.ts';
import { type CompactOptions, checkTime, goneError } from './run-context.ts';

/**
 * Published objects as inputs of a merge, downloaded whole before it begins. A merge does not read an input for as long
 * as the others have the lower keys, and storages end a connection on which nobody reads for half a minute.
 *
 * Errors: STORAGE_FAILED, also where one is gone; SPOOL_FAILED; what `checkTime` throws.
 */
export async function spoolPublished(
  names: readonly string[],
  run: CompactOptions,
): Promise<SnapshotSource[]> {
  const sources: SnapshotSource[] = [];
  for (const name of names) {
    const fetched = await run.store.get(name, { signal: run.signal });
    if (fetched === undefined) {
      throw goneError(name);
    }
    const file = await run.scratch.create();
    for await (const chunk of fetched.body) {
      checkTime(run);
      await file.write(chunk);
    }
    await file.finish();
    sources.push({ name, existing: true, open: () => file.open() });
  }
  return sources;
}
