import { FLAG_DELETED, headerLengthAt, timestampNsAt } from '../../../protocol/value-header.ts';
import type { EntryView } from '../../../protocol/snapshot.ts';
import { entryTimestampNs } from '../../../protocol/snapshot.ts';
import type { SyncedDbis } from '../changes/synced-dbis.ts';
import { isAtKey, PageCursor } from '../pages/cursor.ts';
import type { DataFile } from '../pages/data-file.ts';
import type { HeldSchema } from '../sync-state-text.ts';

/** The DBI in which PowerDNS keeps what it knows of its LMDB as a whole. */
export const POWERDNS_DBI = 'pdns';

/** Its key for the version of the schema; PowerDNS refuses to start on a version above its own. */
export const SCHEMA_VERSION_KEY = 'schemaversion';

const KEY = Buffer.from(SCHEMA_VERSION_KEY);
const VERSION_BYTES = 4;

/** The register of PowerDNS's schema version in a state; undefined: there is none, or it is no number. */
export function localSchemaVersion(file: DataFile, dbis: SyncedDbis): HeldSchema | undefined {
  for (const { record, header } of dbis.values()) {
    if (header.name !== POWERDNS_DBI) {
      continue;
    }
    const cursor = new PageCursor(file, record);
    if (!cursor.seek(KEY, 0, KEY.length) || !isAtKey(cursor, KEY)) {
      return undefined;
    }
    const { valueBuffer, valueStart, valueEnd } = cursor;
    try {
      const start = valueStart + headerLengthAt(valueBuffer, valueStart, valueEnd);
      const version = versionAt(valueBuffer, start, valueEnd);
      return version === undefined
        ? undefined
        : { version, timestampNs: timestampNsAt(valueBuffer, valueStart) };
    } catch {
      return undefined;
    }
  }
  return undefined;
}

/** The entry of PowerDNS's DBI as a schema version; undefined: it is another one, or no number. */
export function incomingSchemaVersion(entry: EntryView): HeldSchema | undefined {
  const { buffer, keyStart, keyEnd, valueStart, valueEnd, flags } = entry;
  if ((flags & FLAG_DELETED) !== 0 || KEY.compare(buffer, keyStart, keyEnd, 0, KEY.length) !== 0) {
    return undefined;
  }
  const version = versionAt(buffer, valueStart, valueEnd);
  return version === undefined ? undefined : { version, timestampNs: entryTimestampNs(entry) };
}

/** Big-endian from 4.8 on, in the order of the host before: versions are small, so the lower reading is the number. */
function versionAt(bytes: Uint8Array, start: number, end: number): number | undefined {
  if (end - start !== VERSION_BYTES) {
    return undefined;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, VERSION_BYTES);
  return Math.min(view.getUint32(0, false), view.getUint32(0, true));
}
