import { FLAG_DELETED, parseValueHeader } from '../../protocol/value-header.ts';
import { decodePair } from '../../protocol/dupsort-hack.ts';
import { applicationDbiName } from '../../protocol/dbi-name.ts';
import type { Changes } from './changes.ts';

/** Zones that changed: by name, and by the id that scopes their records. "everything": it cannot be told. */
export type ChangedZones =
  | { readonly names: ReadonlySet<string>; readonly ids: ReadonlySet<number> }
  | 'everything';

/** DBIs of PowerDNS whose entries change no answer by themselves: objects with an index entry beside them, and settings. */
const WITHOUT_ZONE = new Set(['metadata', 'keydata', 'tsig', 'tsig_0', 'pdns']);
const ID_BYTES = 4;
const LENGTH_BYTES = 2;

/**
 * Which zones the keys of merged entries belong to, in the schemas 4 (PowerDNS 4.7, in our shadow DBIs) to 6.
 * Records begin with the zone's id; the indexes of domains, metadata and keys hold its name.
 *
 * Source: PowerDNS/pdns, `modules/lmdbbackend/lmdbbackend.cc` and `ext/lmdb-safe`.
 */
export function changedZones(changes: Changes): ChangedZones {
  const names = new Set<string>();
  const ids = new Set<number>();
  for (const touched of changes.values()) {
    if (touched === 'many') {
      return 'everything';
    }
    for (const [storedName, keys] of touched) {
      const plainName = applicationDbiName(storedName);
      const isShadow = plainName !== undefined;
      // Names with a version (`domains_v5_0`) are of the native schema.
      const dbiName = (plainName ?? storedName).replace(/_v\d+(?=_0$|$)/, '');
      for (const text of keys) {
        const key = Buffer.from(text, 'latin1');
        const found = zoneOf(dbiName, key, { isShadow });
        if (found === null) {
          return 'everything';
        }
        if (typeof found === 'string') {
          names.add(found);
        }
        if (typeof found === 'number') {
          ids.add(found);
        }
      }
    }
  }
  return { names, ids };
}

/** A name, an id, nothing, or null: what this entry belongs to cannot be told. */
function zoneOf(
  dbiName: string,
  key: Buffer,
  { isShadow }: { isShadow: boolean },
): string | number | undefined | null {
  if (WITHOUT_ZONE.has(dbiName)) {
    return undefined;
  }
  switch (dbiName) {
    case 'records':
    case 'comments':
      return key.length > ID_BYTES ? key.readUInt32BE(0) : null;
    case 'domains':
      if (key.length !== ID_BYTES) {
        return null;
      }
      return isShadow ? key.readUInt32LE(0) : key.readUInt32BE(0);
    case 'domains_0':
    case 'metadata_0':
    case 'keydata_0':
      return nameOfKey(isShadow ? decodePair(key)?.key : nativeNameKey(key)) ?? null;
    default:
      return null;
  }
}

/** The name key in an index key: its length, the name key, the id. */
function nativeNameKey(key: Buffer): Buffer | undefined {
  if (key.length < LENGTH_BYTES + ID_BYTES) {
    return undefined;
  }
  const end = LENGTH_BYTES + key.readUInt16BE(0);
  return end + ID_BYTES === key.length ? key.subarray(LENGTH_BYTES, end) : undefined;
}

/** A name key is the labels in reverse order, each with a NUL behind it; one NUL alone is the root. */
function nameOfKey(nameKey: Buffer | undefined): string | undefined {
  if (nameKey === undefined || nameKey.at(-1) !== 0) {
    return undefined;
  }
  if (nameKey.length === 1) {
    return '.';
  }
  const labels = nameKey.toString('latin1', 0, nameKey.length - 1).split('\0');
  if (labels.some((label) => label === '')) {
    return undefined;
  }
  return presentation(labels.toReversed());
}

/** Where the entries of zones are found by id, and how to read them. */
export type DomainSchema = { readonly dbiName: string; readonly isNative: boolean };

/** The schemas that are known, by the DBI that the objects of domains are in. */
export const DOMAIN_SCHEMAS: readonly DomainSchema[] = [
  { dbiName: 'domains_v5', isNative: true },
  { dbiName: 'domains', isNative: false },
];

/** The key of a zone's object. */
export function domainKey(id: number, { isNative }: DomainSchema): Buffer {
  const key = Buffer.alloc(ID_BYTES);
  if (isNative) {
    key.writeUInt32BE(id);
  } else {
    key.writeUInt32LE(id);
  }
  return key;
}

/** What precedes the name in a stored object: what the serialiser writes about its class. */
const PREAMBLE_BYTES = 10;
const NAME_LENGTH_BYTES = 8;
const NAME_BYTES_MAX = 255;

/** The name in a zone's stored object; undefined: the zone is deleted. Throws where the object is not as it is known. */
export function zoneNameIn(value: Buffer, { isNative }: DomainSchema): string | undefined {
  let at = PREAMBLE_BYTES;
  if (isNative) {
    const { flags, headerLength } = parseValueHeader(value);
    if ((flags & FLAG_DELETED) !== 0) {
      return undefined;
    }
    at += headerLength;
  }
  if (value.length < at + NAME_LENGTH_BYTES) {
    throw new Error('an object of a domain that is too short');
  }
  const length = value.readBigUInt64LE(at);
  const start = at + NAME_LENGTH_BYTES;
  if (length < 1n || length > NAME_BYTES_MAX || start + Number(length) > value.length) {
    throw new Error('an object of a domain without its name');
  }
  return nameOfWire(value.subarray(start, start + Number(length)));
}

function nameOfWire(wire: Buffer): string {
  const labels: string[] = [];
  let at = 0;
  while (at < wire.length) {
    const length = wire[at] ?? 0;
    if (length === 0) {
      if (at + 1 !== wire.length) {
        break;
      }
      return labels.length === 0 ? '.' : presentation(labels);
    }
    if (length > 63 || at + 1 + length > wire.length) {
      break;
    }
    labels.push(wire.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  throw new Error('an object of a domain with another name than one of DNS');
}

/** A name as text, with a final dot; whatever else than letters, digits and a few signs is in it is escaped. */
function presentation(labels: readonly string[]): string {
  const escaped = labels.map((label) =>
    label.replace(
      /[^a-zA-Z0-9_/*-]/g,
      (sign) => `\\${String(sign.charCodeAt(0)).padStart(3, '0')}`,
    ),
  );
  return `${escaped.join('.')}.`;
}
