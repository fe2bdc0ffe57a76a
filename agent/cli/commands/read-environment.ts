import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, SyncError } from '../../../protocol/errors.ts';
import type { DatabaseConfig } from '../../config/config.ts';
import { selectDatabases } from '../../config/select-databases.ts';
import type { DbRecord, DataFile, Meta } from '../../lmdb/pages/data-file.ts';
import { beginBlockingWork } from './blocking-work.ts';
import type { CommandContext } from './context.ts';

/** An LMDB environment at one moment: its pages stay as they are until the work is done. */
export type PinnedEnvironment = {
  readonly file: DataFile;
  readonly meta: Meta;
  /** DBIs by name, in the order of the root database. Names have one character per byte. */
  readonly dbis: ReadonlyMap<string, DbRecord>;
  readonly readers: { readonly used: number; readonly max: number };
};

/**
 * Reads one database under a read transaction. Nothing is created, and only a slot in the lock table is written.
 * Errors: ENVIRONMENT_UNREADABLE.
 */
async function readEnvironment<T>(
  database: DatabaseConfig,
  work: (pinned: PinnedEnvironment) => T | Promise<T>,
): Promise<T> {
  const { path, options } = database;
  requireDataFile(database);
  // Loaded here, so that commands without databases do not need the addon.
  const [{ Environment }, { listDbis }] = await Promise.all([
    import('../../lmdb/environment.ts'),
    import('../../lmdb/pages/data-file.ts'),
  ]);
  const environment = Environment.open({ path, ...options, create: false });
  try {
    const txn = environment.beginRead();
    try {
      const { file } = environment;
      const dbis = listDbis(file, txn.meta);
      return await work({ file, meta: txn.meta, dbis, readers: environment.readers() });
    } finally {
      txn.close();
    }
  } finally {
    await environment.close();
  }
}

/** The data file of a database. Errors: ENVIRONMENT_UNREADABLE if it is missing. */
export function requireDataFile({ path, options }: DatabaseConfig): string {
  const dataPath = options.noSubdir ? path : join(path, 'data.mdb');
  if (!existsSync(dataPath)) {
    throw new SyncError('ENVIRONMENT_UNREADABLE', `there is no LMDB at ${dataPath}`, {
      hint: 'Check `path`, and whether it needs `options.no_subdir`.',
    });
  }
  return dataPath;
}

/**
 * Works on the databases one after the other, by name. One that cannot be read is logged, and the others have their
 * turn. Errors: USAGE for a name that is not configured; the first failure, after all had their turn.
 */
export async function eachDatabase(
  context: CommandContext,
  only: string,
  work: (name: string, pinned: PinnedEnvironment) => void | Promise<void>,
): Promise<void> {
  const databases = selectDatabases(context.config, only === '' ? [] : [only]);
  await beginBlockingWork(context);
  const failures: SyncError[] = [];
  for (const [name, database] of databases.toSorted(byName)) {
    context.signal.throwIfAborted();
    try {
      await readEnvironment(database, (pinned) => work(name, pinned));
    } catch (error) {
      if (!(error instanceof SyncError) || error === context.signal.reason) {
        throw error;
      }
      const hint = error.hint === undefined ? {} : { hint: error.hint };
      context.log.error({ db: name, error: errorText(error), ...hint }, 'cannot read the LMDB');
      failures.push(error);
    }
  }
  throwFirst(failures);
}

/** Throws the first of them, if there is one. */
export function throwFirst([first]: readonly SyncError[]): void {
  if (first !== undefined) {
    throw first;
  }
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : Number(a > b);
}
