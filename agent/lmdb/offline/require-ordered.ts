import { SyncError } from '../../../protocol/errors.ts';
import type { DataFile, DbRecord } from '../pages/data-file.ts';
import { isDbiOrdered } from '../pages/diff.ts';

/** Reads all of a DBI before it is written to. Errors: ENVIRONMENT_UNREADABLE if it is not in the order of its flags. */
export function requireOrdered(file: DataFile, name: string, record: DbRecord): void {
  if (isDbiOrdered(file, record)) {
    return;
  }
  throw new SyncError('ENVIRONMENT_UNREADABLE', `keys of ${name} are out of order`, {
    hint: 'Nothing was changed; let the agent fill a new LMDB from the bucket, or check the file with mdb_dump.',
  });
}
