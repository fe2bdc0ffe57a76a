import { SyncError } from '../../protocol/errors.ts';
import type { Config, DatabaseConfig } from './config.ts';

/**
 * The databases that a command names, in that order and each once; all of the configuration where it names none.
 * Errors: USAGE for a name that is not in the configuration, so that a typing error never selects nothing.
 */
export function selectDatabases(
  { lmdbs }: Pick<Config, 'lmdbs'>,
  only: readonly string[],
): readonly (readonly [string, DatabaseConfig])[] {
  if (only.length === 0) {
    return [...lmdbs];
  }
  return [...new Set(only)].map((name) => [name, requireDatabase({ lmdbs }, name)]);
}

/** The database of that name in the configuration. Errors: USAGE. */
export function requireDatabase({ lmdbs }: Pick<Config, 'lmdbs'>, name: string): DatabaseConfig {
  const database = lmdbs.get(name);
  if (database === undefined) {
    throw new SyncError('USAGE', `no database "${name}" in the configuration`, {
      hint: `Name one of: ${[...lmdbs.keys()].join(', ')}.`,
    });
  }
  return database;
}
