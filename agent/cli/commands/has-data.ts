import { join } from 'node:path';
import type { DatabaseConfig } from '../../config/config.ts';
import { DataFile, listDbis } from '../../lmdb/pages/data-file.ts';

/** DBIs that the agents keep for themselves; they are there before anything of the application is. */
const PRIVATE_PREFIX = '_sync';

/**
 * True when an LMDB has an entry in a DBI of the application. Nothing is opened but the file itself, and nothing is
 * written. False, too, where it cannot be read: what comes next says why.
 */
export function hasData({ path, options }: DatabaseConfig): boolean {
  try {
    using file = DataFile.open(options.noSubdir ? path : join(path, 'data.mdb'));
    const dbis = listDbis(file, file.readMeta());
    return [...dbis].some(([name, { entries }]) => !name.startsWith(PRIVATE_PREFIX) && entries > 0);
  } catch {
    return false;
  }
}
