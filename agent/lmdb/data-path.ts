import fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { errorText, SyncError } from '../../protocol/errors.ts';
import { DataFile } from './pages/data-file.ts';

/** Where an LMDB is, as it is configured. */
export type LmdbPath = {
  readonly path: string;
  readonly noSubdir: boolean;
};

const DATA_FILE = 'data.mdb';
/** A folder with more entries is not searched for the file that was meant. */
const MAX_LOOKED_AT = 200;
const MAX_NAMED = 5;

/** The path of the data file. */
export function dataPathOf({ path, noSubdir }: LmdbPath): string {
  return noSubdir ? path : join(path, DATA_FILE);
}

/**
 * The path of the data file, which is there. A file of no bytes counts as missing: LMDB would make a new one of it.
 *
 * Errors: ENVIRONMENT_UNREADABLE, which names the LMDBs that lie near a path without one.
 */
export function requireDataFile(options: LmdbPath): string {
  const dataPath = dataPathOf(options);
  requireKindOfPath(options);
  const found = look(dataPath);
  if (found?.isFile() === true && found.size > 0) {
    return dataPath;
  }
  const what = found === undefined ? 'there is no LMDB at' : 'there is no LMDB yet in';
  const near = nearbyLmdbs(options);
  const instead = near.length === 0 ? '' : `; there is ${near.join(', ')}`;
  throw new SyncError('ENVIRONMENT_UNREADABLE', `${what} ${dataPath}${instead}`, {
    hint:
      near.length === 0
        ? 'Check `path`, start the application first, or set `options.create: true`.'
        : 'Name the file of the application in `path`, or set `options.create: true` for a new one.',
  });
}

/**
 * Refuses a folder where a file is configured, and the other way round. What is missing passes.
 * Errors: ENVIRONMENT_UNREADABLE.
 */
export function requireKindOfPath({ path, noSubdir }: LmdbPath): void {
  const found = look(path);
  if (noSubdir && found?.isDirectory() === true) {
    const inside = look(join(path, DATA_FILE)) === undefined ? lmdbsIn(path, { noSubdir }) : [];
    throw new SyncError('ENVIRONMENT_UNREADABLE', `${path} is a folder, not a file`, {
      hint:
        inside.length === 0
          ? 'Leave out `options.no_subdir`, or name the file in `path`.'
          : `Name the file in \`path\`: there is ${inside.join(', ')}.`,
    });
  }
  if (!noSubdir && found !== undefined && !found.isDirectory()) {
    throw new SyncError('ENVIRONMENT_UNREADABLE', `${path} is a file, not a folder`, {
      hint: 'Set `options.no_subdir: true` for this database.',
    });
  }
}

/** LMDBs in the folder of a missing one, or inside of it. */
function nearbyLmdbs({ path, noSubdir }: LmdbPath): string[] {
  const inside = noSubdir ? [] : lmdbsIn(path, { noSubdir });
  return inside.length > 0 ? inside : lmdbsIn(dirname(path), { noSubdir, except: basename(path) });
}

/** LMDBs in a folder; those that the configuration reaches only the other way round say so. */
function lmdbsIn(
  folder: string,
  { noSubdir, except }: { readonly noSubdir: boolean; readonly except?: string },
): string[] {
  let names: string[];
  try {
    names = fs.readdirSync(folder);
  } catch {
    return [];
  }
  const found: string[] = [];
  for (const name of names.toSorted().slice(0, MAX_LOOKED_AT)) {
    const path = join(folder, name);
    // Closing a lock file would give up the locks that this process has on it.
    if (name === except || /-lock$|^lock\.mdb$/.test(name) || found.length >= MAX_NAMED) {
      continue;
    }
    if (isLmdb(path)) {
      found.push(noSubdir ? path : `${path} (with \`no_subdir\`)`);
    } else if (isLmdb(join(path, DATA_FILE))) {
      found.push(noSubdir ? `${path} (without \`no_subdir\`)` : path);
    }
  }
  return found;
}

function isLmdb(path: string): boolean {
  // A pipe would be opened for ever.
  if (look(path)?.isFile() !== true) {
    return false;
  }
  try {
    using file = DataFile.open(path);
    file.readMeta();
    return true;
  } catch {
    return false;
  }
}

function look(path: string): fs.Stats | undefined {
  try {
    return fs.statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // A file where a folder should be, on the way there: nothing is at this path.
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') {
      return undefined;
    }
    throw new SyncError('ENVIRONMENT_UNREADABLE', `cannot look at ${path}: ${errorText(error)}`, {
      hint: 'Check the path and that this user may read its folders.',
      cause: error,
    });
  }
}
