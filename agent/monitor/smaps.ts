import { readFile } from 'node:fs/promises';
import { isAbsolute, resolve } from 'node:path';

/** Sums of the memory maps of files: path → figure (`rss`, `shared_clean`, …) → bytes. */
export type SmapsReader = (
  paths: readonly string[],
) => Promise<ReadonlyMap<string, ReadonlyMap<string, number>>>;

/**
 * Figures of this process' memory maps of the given LMDBs (files, or folders with a data.mdb).
 * Empty where the system has no /proc.
 */
export const readSmaps: SmapsReader = async (paths) => {
  let text: string;
  try {
    text = await readFile('/proc/self/smaps', 'utf8');
  } catch {
    // Not Linux, or /proc is hidden: the figures are an extra.
    return new Map();
  }
  return parseSmaps(text, paths);
};

/** The same from the text of an smaps file. */
export function parseSmaps(
  text: string,
  paths: readonly string[],
): Map<string, Map<string, number>> {
  const byFile = new Map<string, string>();
  for (const path of paths) {
    const absolute = isAbsolute(path) ? path : resolve(path);
    byFile.set(absolute, path);
    byFile.set(`${absolute.replace(/\/$/, '')}/data.mdb`, path);
  }
  const sums = new Map<string, Map<string, number>>();
  let current: Map<string, number> | undefined;
  for (const line of text.split('\n')) {
    const header = /^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)$/.exec(line);
    if (header !== null) {
      const path = byFile.get(header[1] ?? '');
      current = path === undefined ? undefined : (sums.get(path) ?? new Map<string, number>());
      if (path !== undefined && current !== undefined) {
        sums.set(path, current);
      }
      continue;
    }
    const figure = /^(\w+):\s+(\d+) kB$/.exec(line);
    if (figure !== null && current !== undefined) {
      const name = (figure[1] ?? '').replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toLowerCase();
      current.set(name, (current.get(name) ?? 0) + Number(figure[2]) * 1024);
    }
  }
  return sums;
}
