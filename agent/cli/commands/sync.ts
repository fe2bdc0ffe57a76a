import { SyncError } from '../../../protocol/errors.ts';
import { formatObjectName } from '../../../protocol/object-name.ts';
import { MAX_TIMESTAMP_NS } from '../../../protocol/time.ts';
import type { Config } from '../../config/config.ts';
import { selectDatabases } from '../../config/select-databases.ts';
import { hasData } from './has-data.ts';
import type { CommandContext } from './context.ts';

/** What else is in an object's name, as long as it can become. */
const LONGEST_NAME = {
  run: 'a'.repeat(12),
  timeNs: MAX_TIMESTAMP_NS,
  seq: 2n ** 63n - 1n,
  kind: 'delta',
} as const;
/** A shorter one is refused for its characters. */
const LONG_DATABASE_NAME = 100;

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
    requireRunnable(name, config);
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

/** Refuses a database that could never store an object, because its name would be none. Errors: CONFIG_INVALID. */
function requireRunnable(database: string, { instance }: Config): void {
  const cannot = `database name ${JSON.stringify(database.slice(0, 100))} cannot be part of object names`;
  const hint = 'Rename it under `lmdbs:`, the same on all instances.';
  try {
    formatObjectName({ database, instance, ...LONGEST_NAME });
  } catch (cause) {
    const why =
      database.length > LONG_DATABASE_NAME
        ? 'it is too long'
        : `it must not be empty, contain "__", "." or "/", nor end with "_"`;
    throw new SyncError('CONFIG_INVALID', `${cannot}: ${why}`, { hint, cause });
  }
}
