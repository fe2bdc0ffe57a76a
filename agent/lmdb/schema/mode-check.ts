import { SyncError } from '../../../protocol/errors.ts';
import { isPrivateDbi } from '../../../protocol/dbi-name.ts';
import { modeSetting, type SchemaMode } from '../../../protocol/snapshot-meta.ts';
import {
  isHeaderLike,
  isValidValue,
  timestampNsAt,
  VALUE_HEADER_BYTES,
} from '../../../protocol/value-header.ts';
import { schemaModeOf, type DatabaseOptions } from '../local-database.ts';
import { listDbis, type DataFile, type DbRecord, type Meta } from '../pages/data-file.ts';
import { isAtKey, PageCursor } from '../pages/cursor.ts';
import { MDB_DUPSORT } from '../pages/layout.ts';
import { POWERDNS_DBI, SCHEMA_VERSION_KEY } from './powerdns-schema.ts';

/** Values that are looked at; about as many from each DBI. */
const SAMPLED_VALUES = 512;
const SAMPLED_DBIS = 128;
/** A longer value would be read from overflow pages; it tells no more than a short one. */
const SAMPLED_VALUE_BYTES = 16 * 1024;
/** Fewer values than this are no proof that an application keeps headers. */
const ENOUGH_VALUES = 20;
/** 2010: no application of LightningStream is older. */
const EARLIEST_NS = 1_262_304_000_000_000_000n;
const YEAR_NS = 366n * 86_400_000_000_000n;

/** What the values of an LMDB look like. */
type Sample = {
  /** Values that say something: those of a migration, whose header is all zeros, could be anything. */
  values: number;
  /** Of them: a header that can be one, whatever its time. */
  headers: number;
  /** Of those: with a time at which it can have been written. */
  timed: number;
};

/**
 * Refuses an LMDB whose values contradict the configured schema mode, before anything is written into it. In the wrong
 * mode values get a header too many, or lose the one that the application needs, and so they reach every other host.
 *
 * Cost: a few hundred values are read. Errors: SCHEMA_MODE_WRONG.
 */
export function requireFittingSchema(
  { file, meta }: { readonly file: DataFile; readonly meta: Meta },
  options: DatabaseOptions,
  nowNs: bigint,
): void {
  if (options.schemaCheck === false) {
    return;
  }
  const dbis = listDbis(file, meta);
  const mode = schemaModeOf(options);
  const version = powerdnsVersionKind(file, dbis.get(POWERDNS_DBI));
  if (version !== undefined && version !== mode) {
    const its = version === 'native' ? 'with a header' : 'without a header';
    throw wrongMode(options, mode, `PowerDNS's ${SCHEMA_VERSION_KEY} in it is a value ${its}`);
  }
  const { values, headers, timed } = sampleValues(file, dbis, nowNs);
  if (mode === 'shadow' && values >= ENOUGH_VALUES && timed > values * 0.99) {
    throw wrongMode(options, mode, `${timed} of ${values} values looked at begin with a header`);
  }
  if (mode === 'native' && values > 0 && headers === 0) {
    throw wrongMode(options, mode, `none of ${values} values looked at begins with a header`);
  }
}

function wrongMode(options: DatabaseOptions, mode: SchemaMode, what: string): SyncError {
  const right = mode === 'native' ? 'shadow' : 'native';
  return new SyncError(
    'SCHEMA_MODE_WRONG',
    `${options.path} does not fit ${modeSetting(mode)} of \`lmdbs.${options.name}\`: ${what}`,
    {
      hint: `Set ${modeSetting(right)} there, or \`schema_check: false\` if that is wrong.`,
    },
  );
}

/** The mode that PowerDNS's own version number shows: from 4.8 on it has a header. */
function powerdnsVersionKind(file: DataFile, record: DbRecord | undefined): SchemaMode | undefined {
  if (record === undefined || (record.flags & MDB_DUPSORT) !== 0) {
    return undefined;
  }
  const cursor = new PageCursor(file, record);
  const key = Buffer.from(SCHEMA_VERSION_KEY);
  if (!cursor.seek(key, 0, key.length) || !isAtKey(cursor, key)) {
    return undefined;
  }
  const { valueStart, valueEnd } = cursor;
  const length = valueEnd - valueStart;
  if (length === Uint32Array.BYTES_PER_ELEMENT) {
    return 'shadow';
  }
  return length >= VALUE_HEADER_BYTES &&
    length < SAMPLED_VALUE_BYTES &&
    isValidValue(cursor.valueBuffer, valueStart, valueEnd)
    ? 'native'
    : undefined;
}

function sampleValues(file: DataFile, dbis: ReadonlyMap<string, DbRecord>, nowNs: bigint): Sample {
  const sampled = [...dbis]
    // No application with headers has duplicate values.
    .filter(([name, { flags }]) => !isPrivateDbi(name) && (flags & MDB_DUPSORT) === 0)
    .filter(([, { entries }]) => entries > 0)
    .slice(0, SAMPLED_DBIS);
  const perDbi = Math.ceil(SAMPLED_VALUES / Math.max(1, sampled.length));
  const sample = { values: 0, headers: 0, timed: 0 };
  for (const [, record] of sampled) {
    const cursor = new PageCursor(file, record);
    for (let i = 0; i < perDbi && cursor.next(); i += 1) {
      if (cursor.valueEnd - cursor.valueStart <= SAMPLED_VALUE_BYTES) {
        addValue(sample, cursor, nowNs);
      }
    }
  }
  return sample;
}

function addValue(sample: Sample, cursor: PageCursor, nowNs: bigint): void {
  const { valueBuffer, valueStart, valueEnd } = cursor;
  const isHeader = isHeaderLike(valueBuffer, valueStart, valueEnd);
  const timeNs = isHeader ? timestampNsAt(valueBuffer, valueStart) : 0n;
  if (isHeader && timeNs === 0n) {
    // In native mode they are what a migration left; in shadow mode an application may write zeros.
    sample.headers += 1;
    return;
  }
  sample.values += 1;
  sample.headers += isHeader ? 1 : 0;
  sample.timed += timeNs >= EARLIEST_NS && timeNs <= nowNs + YEAR_NS ? 1 : 0;
}
