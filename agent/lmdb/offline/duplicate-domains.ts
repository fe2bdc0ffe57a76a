import { SyncError } from '../../../protocol/errors.ts';
import {
  FLAG_DELETED,
  VALUE_HEADER_BYTES,
  headerLengthAt,
  parseValueHeader,
  writeValueHeader,
} from '../../../protocol/value-header.ts';
import type { WriteTxn } from '../environment.ts';
import { listDbis, type DataFile, type DbRecord } from '../pages/data-file.ts';
import { PageCursor } from '../pages/cursor.ts';
import { requireOrdered } from './require-ordered.ts';

/** Two live ids of one domain; the older one stays. */
type DuplicateDomain = {
  readonly domain: string;
  readonly keptId: number;
  readonly newerId: number;
};

export type DuplicateDomains = {
  readonly duplicates: readonly DuplicateDomain[];
  /** Domains that carry the name of an earlier or of this repair; to be removed by `pdnsutil delete-zone`. */
  readonly toDelete: readonly string[];
};

const MAIN_DBI = 'pdns';
const INDEX_DBI = 'domains_v5_0';
const SCHEMA_VERSION = 5;
const LENGTH_BYTES = 2;
const ID_BYTES = 4;

type Entry = { readonly name: Buffer; readonly id: number; readonly timestampNs: bigint };

/**
 * Finds domains of PowerDNS (schema 5) with two live ids, which two servers make that create one at the same moment,
 * and with `nowNs` gives the newer ones another name, so that they can be removed. Writes to `txn` only.
 *
 * Errors: USAGE (not PowerDNS' main database, another schema), VALUE_HEADER_INVALID.
 * Source: PowerDNS/lightningstream, `cmd/lightningstream/commands/experimental-pdns.go`;
 * keys: PowerDNS/pdns, `modules/lmdbbackend/lmdbbackend.cc`.
 */
export function fixDuplicateDomains(
  { file, txn }: { readonly file: DataFile; readonly txn: WriteTxn },
  rename: { readonly nowNs: bigint } | undefined,
): DuplicateDomains {
  const dbis = listDbis(file, txn.committed);
  requireSchema(file, requireDbi(file, dbis, MAIN_DBI));
  const duplicates: DuplicateDomain[] = [];
  const toDelete = new Set<string>();
  let kept: Entry | undefined;
  for (const entry of liveEntries(file, requireDbi(file, dbis, INDEX_DBI))) {
    const domain = displayDomain(entry.name);
    if (isRepaired(domain)) {
      toDelete.add(domain);
    }
    if (kept === undefined || !kept.name.equals(entry.name)) {
      kept = entry;
      continue;
    }
    const [older, newer] = entry.timestampNs < kept.timestampNs ? [entry, kept] : [kept, entry];
    duplicates.push({ domain, keptId: older.id, newerId: newer.id });
    if (rename !== undefined) {
      const name = Buffer.concat([Buffer.from(`invalid\0dup-${newer.id}\0`, 'latin1'), newer.name]);
      putHeader(txn, newer, { nowNs: rename.nowNs, flags: FLAG_DELETED });
      putHeader(txn, { ...newer, name }, { nowNs: rename.nowNs, flags: 0 });
      toDelete.add(displayDomain(name));
    }
    kept = older;
  }
  return { duplicates, toDelete: [...toDelete] };
}

function requireDbi(file: DataFile, dbis: ReadonlyMap<string, DbRecord>, name: string): DbRecord {
  const record = dbis.get(name);
  if (record === undefined) {
    throw new SyncError('USAGE', `no DBI "${name}": this is not the main database of PowerDNS`, {
      hint: 'Name the database whose path is lmdb-filename, and run it with schema 5 (Auth 4.8, 4.9).',
    });
  }
  requireOrdered(file, name, record);
  return record;
}

function requireSchema(file: DataFile, record: DbRecord): void {
  const cursor = new PageCursor(file, record);
  const key = Buffer.from('schemaversion', 'latin1');
  const isFound =
    cursor.seek(key, 0, key.length) &&
    key.equals(cursor.keyBuffer.subarray(cursor.keyStart, cursor.keyEnd));
  if (!isFound) {
    throw new SyncError('USAGE', 'PowerDNS has not written its schemaversion yet');
  }
  const value = cursor.valueBuffer.subarray(cursor.valueStart, cursor.valueEnd);
  let version: number | undefined;
  try {
    const header = headerLengthAt(value, 0, value.length);
    if (value.length === header + ID_BYTES) {
      version = value.readUInt32BE(header);
    }
  } catch {
    // Schema 4 and below have no header.
  }
  if (version !== SCHEMA_VERSION) {
    throw new SyncError(
      'USAGE',
      `schemaversion is ${version ?? 'older'}, this command is for schema ${SCHEMA_VERSION}`,
    );
  }
}

function* liveEntries(file: DataFile, record: DbRecord): Generator<Entry> {
  const cursor = new PageCursor(file, record);
  while (cursor.next()) {
    const key = Buffer.from(cursor.keyBuffer.subarray(cursor.keyStart, cursor.keyEnd));
    const header = parseValueHeader(
      cursor.valueBuffer.subarray(cursor.valueStart, cursor.valueEnd),
    );
    if ((header.flags & FLAG_DELETED) !== 0) {
      continue;
    }
    const nameEnd = key.length < LENGTH_BYTES ? 0 : LENGTH_BYTES + key.readUInt16BE(0);
    if (key.length !== nameEnd + ID_BYTES || nameEnd === 0) {
      throw new SyncError('USAGE', `${INDEX_DBI}: key ${key.toString('hex')} is no domain`, {
        hint: 'Nothing was changed.',
      });
    }
    yield {
      name: key.subarray(LENGTH_BYTES, nameEnd),
      id: key.readUInt32BE(nameEnd),
      timestampNs: header.timestampNs,
    };
  }
}

function putHeader(
  txn: WriteTxn,
  { name, id }: Entry,
  { nowNs, flags }: { readonly nowNs: bigint; readonly flags: number },
): void {
  const key = Buffer.alloc(LENGTH_BYTES + name.length + ID_BYTES);
  key.writeUInt16BE(name.length, 0);
  name.copy(key, LENGTH_BYTES);
  key.writeUInt32BE(id, LENGTH_BYTES + name.length);
  const value = Buffer.alloc(VALUE_HEADER_BYTES);
  const [timeHi, timeLo] = [Number(nowNs >> 32n), Number(nowNs & 0xffff_ffffn)];
  writeValueHeader(value, 0, { timeHi, timeLo, txnId: txn.txnId, flags });
  txn.put(INDEX_DBI, key, value);
}

/** Names are stored with their labels in reverse, between NULs. */
function displayDomain(name: Buffer): string {
  const labels = name.toString('latin1').split('\0');
  return labels
    .filter((label) => label !== '')
    .toReversed()
    .join('.')
    .replaceAll(/[^\x21-\x7e]/g, '?');
}

function isRepaired(domain: string): boolean {
  return domain.endsWith('.invalid') && domain.includes('.dup-');
}
