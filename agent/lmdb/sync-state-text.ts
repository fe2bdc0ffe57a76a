import {
  EMPTY_VECTOR,
  decodeVectorJson,
  encodeVectorJson,
  type VersionVector,
} from '../../protocol/version-vector.ts';
import { parseBigint, parseNumber } from './state-value.ts';

// Entries of `_sync_state` that are more than a number, as text and back. The same value gives the same text.

/** What was sent and received of a DBI before it was left alone. */
export type Exchanged = {
  /** Local changes of later transactions are in no stored object; undefined: none is. */
  readonly uploadedTxn: number | undefined;
  /** What others stored before is merged; undefined: it is not known. */
  readonly syncedNs: bigint | undefined;
};

/** A schema version of PowerDNS, and when it was written. */
export type HeldSchema = { readonly version: number; readonly timestampNs: bigint };

export function heldSchemaText(held: HeldSchema | undefined): string {
  return held === undefined ? '' : `${held.version} ${held.timestampNs}`;
}

export function parseHeldSchema(text: string | undefined): HeldSchema | undefined {
  const [version, time] = (text ?? '').split(' ');
  const parsed = { version: parseNumber(version), timestampNs: parseBigint(time) };
  return parsed.version === undefined || parsed.timestampNs === undefined
    ? undefined
    : { version: parsed.version, timestampNs: parsed.timestampNs };
}

export function vectorText(vector: VersionVector): string {
  return JSON.stringify(encodeVectorJson(vector));
}

/** Damaged text names nothing: at worst, objects that are lost are not sent again. */
export function parseVector(text: string | undefined): VersionVector {
  try {
    return decodeVectorJson(JSON.parse(text ?? '{}'));
  } catch {
    return EMPTY_VECTOR;
  }
}

export function refusedText(refused: ReadonlyMap<string, Exchanged>): string {
  return JSON.stringify(
    [...refused].map(([name, { uploadedTxn, syncedNs }]) => [
      name,
      uploadedTxn ?? null,
      ...(syncedNs === undefined ? [] : [String(syncedNs)]),
    ]),
  );
}

/** Damaged text names nothing: such a DBI is found again when it is read, but not what was left out meanwhile. */
export function parseRefused(text: string | undefined): ReadonlyMap<string, Exchanged> {
  const refused = new Map<string, Exchanged>();
  let list: unknown;
  try {
    list = JSON.parse(text ?? '[]');
  } catch {
    return refused;
  }
  for (const item of Array.isArray(list) ? (list as unknown[]) : []) {
    const [name, uploadedTxn, syncedNs] = Array.isArray(item) ? (item as unknown[]) : [];
    if (typeof name === 'string') {
      refused.set(name, {
        uploadedTxn: typeof uploadedTxn === 'number' ? uploadedTxn : undefined,
        syncedNs: typeof syncedNs === 'string' ? parseBigint(syncedNs) : undefined,
      });
    }
  }
  return refused;
}
