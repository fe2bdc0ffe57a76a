import type { Detection } from '../../lmdb/local-database.ts';
import type { Logger } from '../../log/log.ts';

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
