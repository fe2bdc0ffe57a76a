import { PageCursor } from '../../../agent/lmdb/pages/cursor.ts';
import { diffPages } from '../../../agent/lmdb/pages/diff.ts';
import type { PageSet } from '../../../agent/lmdb/pages/set.ts';
import { listDbis } from '../../../agent/lmdb/pages/data-file.ts';
import type { DataFile, Meta } from '../../../agent/lmdb/pages/data-file.ts';
import { changeLine } from './model.ts';

/** Instead of changes: what the diff or the scan takes for a DBI that is not in the order of its flags. */
export function disorderLine(dbiName: string): string {
  return `${dbiName} is out of order`;
}

/** The changes that a diff finds, as {@link changeLine} has them, in the order in which they come. */
export function diffLines(
  file: DataFile,
  from: Meta,
  to: Meta,
  pages: PageSet,
  encoding: BufferEncoding = 'latin1',
): string[] {
  const lines: string[] = [];
  let dbiName = '';
  diffPages(file, from, to, pages, {
    onDisorder: (dbis) => lines.push(...[...dbis.keys()].map(disorderLine)),
    onDbi: (name) => {
      dbiName = name;
    },
    onChange: (c) => {
      const key = c.keyBuffer.toString(encoding, c.keyStart, c.keyEnd);
      const oldValue = c.hasOld ? c.oldBuffer.toString(encoding, c.oldStart, c.oldEnd) : undefined;
      const newValue = c.hasNew ? c.newBuffer.toString(encoding, c.newStart, c.newEnd) : undefined;
      lines.push(changeLine(dbiName, key, oldValue, newValue));
    },
  });
  return lines;
}

/** Every entry of every DBI, as if all of them had just been added; sorted. */
export function scanLines(
  file: DataFile,
  meta: Meta,
  encoding: BufferEncoding = 'latin1',
): string[] {
  const lines: string[] = [];
  for (const [name, db] of listDbis(file, meta)) {
    const cursor = new PageCursor(file, db, { checksOrder: true });
    while (cursor.next()) {
      const value = cursor.valueBuffer.toString(encoding, cursor.valueStart, cursor.valueEnd);
      const key = cursor.keyBuffer.toString(encoding, cursor.keyStart, cursor.keyEnd);
      lines.push(changeLine(name, key, undefined, value));
    }
    if (!cursor.isOrdered) {
      lines.push(disorderLine(name));
    }
  }
  return lines.sort();
}
