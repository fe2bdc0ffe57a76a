import { isAtKey, PageCursor } from './pages/cursor.ts';
import type { Environment } from './environment.ts';
import type { EntryKey } from './local-database.ts';
import { listDbis, type DataFile } from './pages/data-file.ts';

/** Copies of the stored bytes of these entries as of the newest state; undefined where there is none. */
export function readValues(
  { environment, file }: { readonly environment: Environment; readonly file: DataFile },
  entries: readonly EntryKey[],
): (Uint8Array | undefined)[] {
  const read = environment.beginRead();
  try {
    const dbis = listDbis(file, read.meta);
    return entries.map(({ dbiName, key }) => {
      const record = dbis.get(dbiName);
      if (record === undefined) {
        return undefined;
      }
      const cursor = new PageCursor(file, record);
      if (!cursor.seek(key, 0, key.length) || !isAtKey(cursor, key)) {
        return undefined;
      }
      const { valueBuffer, valueStart, valueEnd } = cursor;
      return new Uint8Array(valueBuffer.subarray(valueStart, valueEnd));
    });
  } finally {
    read.close();
  }
}
