import { errorText, SyncError } from '../../../protocol/errors.ts';
import type { DatabaseConfig } from '../../config/config.ts';
import { requireDataFile } from '../../lmdb/data-path.ts';
import type { WriteTxn } from '../../lmdb/environment.ts';
import type { DataFile } from '../../lmdb/pages/data-file.ts';
import { beginBlockingWork } from './blocking-work.ts';
import type { CommandContext } from './context.ts';

/** What a command works with that changes an LMDB. */
export type WritableDatabase = {
  /** Its pages are those of `txn.committed`: reading sees nothing of what the transaction writes. */
  readonly file: DataFile;
  readonly txn: WriteTxn;
};

/**
 * Runs `work` in one write transaction on one database: all of it is done, or nothing. No agent may run on the file,
 * nor start meanwhile. Errors: ENVIRONMENT_UNREADABLE, MAP_FULL, TRANSACTION_FAILED, whatever `work` throws.
 */
export async function writeEnvironment<T>(
  context: CommandContext,
  {
    database,
    program,
    mayRepair = false,
  }: {
    readonly database: DatabaseConfig;
    readonly program: string;
    /** Also where the main database holds data of the application, if DBIs of ours are beside it. */
    readonly mayRepair?: boolean;
  },
  work: (database: WritableDatabase) => T,
): Promise<T> {
  const { path, options } = database;
  const dataPath = requireDataFile({ path, noSubdir: options.noSubdir });
  const [{ Environment }, { claimMarker }, { refuseUnnamedData, requireNamedData }] =
    await Promise.all([
      import('../../lmdb/environment.ts'),
      import('../../guard/agent-marker.ts'),
      import('../../lmdb/unnamed-data.ts'),
    ]);
  refuseUnnamedData(dataPath, { mayRepair });
  const owner = { program: `lightningstream ${program}`, instance: context.config.instance };
  const marker = await claimMarker(dataPath, owner, (reason) => {
    throw new SyncError(
      'ENVIRONMENT_UNREADABLE',
      `cannot find out whether an agent runs on ${dataPath}: ${reason}`,
      { hint: 'Run this as the user of the agent, with the right to write in the folder.' },
    );
  });
  try {
    await beginBlockingWork(context);
    const environment = Environment.open({ path, ...options, create: false });
    try {
      const { file } = environment;
      return environment.write((txn) => {
        requireNamedData(file, txn.committed, { mayRepair });
        return work({ file, txn });
      }).result;
    } finally {
      await environment.close();
    }
  } finally {
    marker.close();
  }
}

/** Logs the failure of one of several databases. */
export function logFailure({ log }: CommandContext, db: string, error: SyncError): void {
  const hint = error.hint === undefined ? {} : { hint: error.hint };
  log.error({ db, error: errorText(error), ...hint }, 'this database stays as it was');
}
