import { SyncError } from '../../../protocol/errors.ts';
import type { CommandContext } from './context.ts';

export type SyncFlags = {
  readonly onlyOnce: boolean;
  readonly waitForMarkerFile: string;
  readonly onlyDb: readonly string[];
};

/** `sync` and `receive`: runs the agent until it is told to stop, or once. */
export async function runSync(
  context: CommandContext,
  flags: SyncFlags & { readonly receiveOnly: boolean },
): Promise<void> {
  const { config, deps, signal } = context;
  for (const name of config.lmdbs.keys()) {
    if (flags.onlyDb.length === 0 || flags.onlyDb.includes(name)) {
      requireRunnable(name);
    }
  }
  await deps.runAgent(config, {
    receiveOnly: flags.receiveOnly,
    onlyOnce: flags.onlyOnce || config.onlyOnce,
    waitForMarkerFile: flags.waitForMarkerFile === '' ? undefined : flags.waitForMarkerFile,
    onlyDatabases: flags.onlyDb,
    signal,
    version: deps.version,
  });
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
