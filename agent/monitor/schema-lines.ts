import { errorText, type SyncError } from '../../protocol/errors.ts';
import type { Detection } from '../lmdb/local-database.ts';
import type { Logger } from '../log/log.ts';
import type { DatabaseStatus } from './status.ts';

type HeldSchema = Detection['heldSchema'];

/** Logs the beginning and the end of a hold, each once. */
export function logHeldSchema(log: Logger, before: HeldSchema, now: HeldSchema): void {
  if (now !== undefined && now.version !== before?.version) {
    log.warn(
      { dbi: 'pdns', version: now.version, local_version: now.localVersion },
      'a newer schema version of PowerDNS is held back: upgrade PowerDNS here, or set allow_schema_upgrade',
    );
  } else if (now === undefined && before !== undefined) {
    log.info({ dbi: 'pdns', version: before.version }, 'the schema version is no longer held back');
  }
}

/** An object that is left out, for the status and the log. */
export function leftOut(
  name: string,
  error: SyncError,
): { readonly shown: DatabaseStatus['quarantined'][number]; readonly line: string } {
  const otherMode = error.code === 'SNAPSHOT_OTHER_MODE';
  return {
    shown: { name, error: errorText(error), ...(otherMode ? { otherMode } : {}) },
    line: otherMode
      ? 'Object is of another schema mode and is left out. Set schema_tracks_changes to what fits the application, the same on all hosts'
      : 'Object cannot be used and is left out; others go on. Remove it once its instance has stored a newer full snapshot',
  };
}
