import { SyncError } from '../../../protocol/errors.ts';
import type { DatabaseConfig } from '../../config/config.ts';
import { listDbis } from '../../lmdb/pages/data-file.ts';
import { isPrivateDbi } from '../../../protocol/dbi-name.ts';
import type { CommandContext } from './context.ts';
import { throwFirst } from './read-environment.ts';
import { shownName } from '../../monitor/status.ts';
import { logFailure, writeEnvironment } from './write-environment.ts';

/**
 * `drop-shadow`: deletes every `_sync*` DBI of every database, without asking, each database in one transaction.
 * What an agent knew about the LMDB (`_sync_state`) goes with them: the next one begins as on an LMDB it has never
 * seen, fetches everything and sends everything, and the later write wins as ever.
 *
 * Errors: the first failure, after all databases had their turn. Upstream logs it and ends with 0.
 */
export async function dropShadow(context: CommandContext): Promise<void> {
  const failures: SyncError[] = [];
  for (const [name, database] of context.config.lmdbs) {
    context.signal.throwIfAborted();
    try {
      const dropped = await writeEnvironment(
        context,
        { database, program: 'drop-shadow', mayRepair: true },
        ({ file, txn }) => {
          const names = [...listDbis(file, txn.committed).keys()].filter(isPrivateDbi);
          names.forEach((dbi) => txn.dropDbi(dbi));
          return names;
        },
      );
      for (const dbi of dropped) {
        context.log.info({ db: name, dbi: shownName(dbi) }, 'dropped');
      }
      context.log.info({ db: name, dbis: dropped.length }, consequence(database));
    } catch (error) {
      if (!(error instanceof SyncError)) {
        throw error;
      }
      logFailure(context, name, error);
      failures.push(error);
    }
  }
  throwFirst(failures);
}

/** What it means depends on where the times of changes are kept: in the shadow DBIs, or in the values themselves. */
function consequence({ schemaTracksChanges }: DatabaseConfig): string {
  return schemaTracksChanges
    ? 'Done. This database has the native schema, so no entry lost its time: only what the agent knew is gone (_sync_state), and the next one fetches and sends everything again'
    : 'Done. The times of all changes are gone: to the next agent all entries are new, it fetches and sends everything again, and a deletion that was not sent is forgotten';
}
