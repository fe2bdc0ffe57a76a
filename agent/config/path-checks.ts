import { realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Problem } from './yaml-reader.ts';

type PathProblem = Omit<Problem, 'line'> & {
  /** The key that is wrong. */
  readonly path: readonly string[];
};

type DatabasePath = { readonly path: string; readonly options: { readonly noSubdir: boolean } };

/**
 * Databases that are one LMDB under two names. Links are followed, also where the file itself is yet to be made: two
 * agents in one process would merge into each other's writes.
 */
export function* pathProblems(
  databases: ReadonlyMap<string, DatabasePath>,
): Generator<PathProblem> {
  const known = new Map<string, string>();
  for (const [name, { path, options }] of databases) {
    if (path === '') {
      continue;
    }
    const file = realPath(options.noSubdir ? path : join(path, 'data.mdb'));
    const other = known.get(file);
    if (other === undefined) {
      known.set(file, name);
      continue;
    }
    yield {
      path: ['lmdbs', name, 'path'],
      message: `\`lmdbs.${other}\` and \`lmdbs.${name}\` have the same path: ${file}`,
      hint: 'Give each database a path of its own, or remove one of the two.',
    };
  }
}

/** The path without links; of what does not exist, the path of the nearest folder that does, and the rest as it is. */
function realPath(path: string): string {
  const absolute = resolve(path);
  try {
    return realpathSync(absolute);
  } catch {
    const folder = dirname(absolute);
    return folder === absolute ? absolute : join(realPath(folder), basename(absolute));
  }
}
