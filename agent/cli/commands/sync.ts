import { SyncError } from '../../../protocol/errors.ts';
import { selectDatabases } from '../../config/select-databases.ts';
import { hasData } from './has-data.ts';
import type { CommandContext } from './context.ts';

export type SyncFlags = {
  readonly onlyOnce: boolean;
  /** `receive` only: does nothing where every LMDB has data. */
  readonly onlyIfEmpty?: boolean | undefined;
  readonly waitForMarkerFile: string;
  readonly onlyDb: readonly string[];
};

/** `sync` and `receive`: runs the agent until it is told to stop, or once. Errors: USAGE, CONFIG_INVALID. */
export async function runSync(
  context: CommandContext,
  flags: SyncFlags & { readonly receiveOnly: boolean },
): Promise<void> {
  const { config, deps, signal } = context;
  const databases = selectDatabases(config, flags.onlyDb);
  for (const [name] of databases) {
    requireRunnable(name);
  }
  const onlyOnce = flags.onlyOnce || config.onlyOnce;
  if (flags.onlyIfEmpty === true) {
    requireOnlyOnce(onlyOnce);
    if (databases.every(([, database]) => hasData(database))) {
      return;
    }
  }
  await deps.runAgent(config, {
    receiveOnly: flags.receiveOnly,
    onlyOnce,
    waitForMarkerFile: flags.waitForMarkerFile === '' ? undefined : flags.waitForMarkerFile,
    onlyDatabases: flags.onlyDb,
    signal,
    version: deps.version,
    log: context.log,
    signals: deps.signals,
    reload: context.reload,
  });
}

function requireOnlyOnce(onlyOnce: boolean): void {
  if (!onlyOnce) {
    throw new SyncError('USAGE', '--only-if-empty is for `receive --only-once`', {
      hint: 'Add --only-once, or leave --only-if-empty out.',
    });
  }
}

/** Refuses what this version would do wrong if it went on. Errors: CONFIG_INVALID. */
function requireRunnable(name: string): void {
  if (name === '' || name.includes('__') || name.includes('.') || name.includes('/')) {
    throw new SyncError(
      'CONFIG_INVALID',
      `database name "${name}" cannot be part of object names: it must not contain "__", "." or "/"`,
      { hint: 'Rename it under `lmdbs:`, the same on all instances.' },
    );
  }
}
