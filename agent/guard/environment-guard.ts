import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { errorText, SyncError } from '../../protocol/errors.ts';
import type { Config, DatabaseConfig } from '../config/config.ts';
import type { Check } from '../watchdog/health-check.ts';
import { claimMarker, type AgentMarker } from './agent-marker.ts';
import { dataPathOf, requireDataFile, requireKindOfPath } from '../lmdb/data-path.ts';
import { checkLockTable } from './lock-table.ts';
import { refuseUnnamedData } from '../lmdb/unnamed-data.ts';
import type { Logger } from '../log/log.ts';

/** Held as long as the agent works on its LMDBs. */
export type EnvironmentGuard = {
  /** What was found and stays true while it runs, for `/healthz`. */
  checks(): Check[];
  close(): void;
};

/**
 * Before any LMDB is opened: the main database holds no data of the application, no other agent of ours may work on it, and LMDB's lock table must be able to tell this
 * process from all others that use it. Each finding is one log line.
 *
 * Errors: ENVIRONMENT_UNREADABLE.
 */
export async function guardEnvironments(
  { instance }: Config,
  databases: readonly (readonly [string, DatabaseConfig])[],
  parentLog: Logger,
): Promise<EnvironmentGuard> {
  const markers: AgentMarker[] = [];
  const warnings: Check[] = [];
  const close = () => markers.forEach((marker) => marker.close());
  try {
    for (const [name, { path, options }] of databases) {
      const log = parentLog.child({ db: name });
      const at = { path, noSubdir: options.noSubdir };
      // Before anything is made beside it: a wrong path leaves nothing behind.
      requireKindOfPath(at);
      const dataPath = options.create ? dataPathOf(at) : requireDataFile(at);
      refuseUnnamedData(dataPath);
      makeFolder(dirname(dataPath), options);
      const owner = { program: 'lightningstream', instance };
      const marker = await claimMarker(dataPath, owner, (reason) =>
        log.debug({ error: reason }, 'cannot tell other agents of this one'),
      );
      markers.push(marker);
      if (!existsSync(dataPath)) {
        continue;
      }
      const checker = join(__dirname, 'lmdb-reader-check.cjs');
      const { cleared, foreignPids } = await checkLockTable({ path, ...options }, checker);
      if (cleared > 0) {
        log.info({ readers: cleared }, 'cleared the readers of dead processes');
      }
      if (foreignPids.length > 0) {
        const message = `process ${foreignPids.join(', ')} reads this LMDB from another process id name space: ids may clash after a restart; share it, or use --minimum-pid`;
        log.warn({}, message);
        warnings.push({ name: `${name}_process_ids`, level: 'warning', message });
      }
    }
  } catch (error) {
    close();
    throw error;
  }
  return { checks: () => warnings, close };
}

function makeFolder(folder: string, { create, dirMask }: DatabaseConfig['options']): void {
  if (!create || existsSync(folder)) {
    return;
  }
  try {
    mkdirSync(folder, { recursive: true, mode: dirMask });
  } catch (error) {
    throw new SyncError('ENVIRONMENT_UNREADABLE', `cannot create ${folder}: ${errorText(error)}`, {
      hint: 'Check the path and that this user may write there.',
      cause: error,
    });
  }
}
