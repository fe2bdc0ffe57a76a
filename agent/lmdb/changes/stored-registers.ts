import { incomingWins } from '../../../protocol/register.ts';
import { MAX_VALUE_BYTES } from '../../../protocol/limits.ts';
import { isValidValue } from '../../../protocol/value-header.ts';
import { newView } from '../../../protocol/snapshot.ts';
import { showValue } from './stored-value.ts';
import { isAtKey, PageCursor } from '../pages/cursor.ts';
import type { DataFile, DbRecord } from '../pages/data-file.ts';

/** True if one native value (header and application value) wins over another one. */
export function replaces(incoming: Buffer, stored: Buffer): boolean {
  const view = newView();
  showValue(view, incoming, 0, incoming.length);
  return incomingWins(stored, 0, stored.length, view);
}

/** The stored values of one root, to compare native values with. Cheapest when keys ascend within a DBI. */
export class StoredRegisters {
  readonly #file: DataFile;
  readonly #dbis: ReadonlyMap<string, DbRecord>;
  readonly #cursors = new Map<string, PageCursor>();
  readonly #incoming = newView();

  constructor(file: DataFile, dbis: ReadonlyMap<string, DbRecord>) {
    this.#file = file;
    this.#dbis = dbis;
  }

  /**
   * Whether the value (header and application value) would replace what is stored. "invalid": that has no header, or is
   * too large to be compared.
   */
  compare(write: { dbiName: string; key: Buffer; value: Buffer }): 'wins' | 'loses' | 'invalid' {
    const { dbiName, key, value } = write;
    const record = this.#dbis.get(dbiName);
    if (record === undefined) {
      return 'wins';
    }
    let cursor = this.#cursors.get(dbiName);
    if (cursor === undefined) {
      cursor = new PageCursor(this.#file, record);
      this.#cursors.set(dbiName, cursor);
    }
    if (!cursor.seek(key, 0, key.length) || !isAtKey(cursor, key)) {
      return 'wins';
    }
    const { valueStart, valueEnd } = cursor;
    if (valueEnd - valueStart > MAX_VALUE_BYTES) {
      return 'invalid';
    }
    const { valueBuffer } = cursor;
    if (!isValidValue(valueBuffer, valueStart, valueEnd)) {
      return 'invalid';
    }
    showValue(this.#incoming, value, 0, value.length);
    return incomingWins(valueBuffer, valueStart, valueEnd, this.#incoming) ? 'wins' : 'loses';
  }
}
