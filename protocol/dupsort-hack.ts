/** The name under which snapshots say that their keys are made by {@link encodePair}. */
export const DUPSORT_TRANSFORM = 'dupsort_hack_v1';

/** Keys of LMDB, and values of MDB_DUPSORT DBIs, at most, in bytes. Source: LMDB's default build. */
export const MAX_LMDB_KEY_BYTES = 511;
const MAX_PAIR_KEY_BYTES = 255;
const SEPARATOR_BYTES = 4;
/** What an encoded key has besides the key and the value. */
const OVERHEAD_BYTES = SEPARATOR_BYTES + 1;

/** How many bytes of a value go into the encoded key beside a key of this length. */
export function pairValueBytes(keyLength: number): number {
  return MAX_LMDB_KEY_BYTES - keyLength - OVERHEAD_BYTES;
}

/**
 * The one key that stands for a (key, value) pair of an MDB_DUPSORT DBI: the key (1 to 255 bytes), four zero bytes, as
 * much of the value as fits into 511 bytes, and one byte with the key's length. Undefined: the key is empty or too long.
 *
 * Two values of a key that begin with the same 251 to 505 bytes have the same encoded key.
 * Source: PowerDNS/lightningstream, `syncer/dupsorthack.go`, `dupSortHackEncodeOne` (transform `dupsort_hack_v1`).
 */
export function encodePair(key: Uint8Array, value: Uint8Array): Buffer | undefined {
  const { length } = key;
  if (length < 1 || length > MAX_PAIR_KEY_BYTES) {
    return undefined;
  }
  const valueBytes = Math.min(value.length, pairValueBytes(length));
  const encoded = Buffer.alloc(length + OVERHEAD_BYTES + valueBytes);
  encoded.set(key, 0);
  encoded.set(value.subarray(0, valueBytes), length + SEPARATOR_BYTES);
  encoded[encoded.length - 1] = length;
  return encoded;
}

/** The two parts of an encoded key, as views of it; `value` is the whole value unless it is too long for that. */
export type DecodedPair = { readonly key: Buffer; readonly value: Buffer };

/** Undo of {@link encodePair}; undefined: these bytes are no encoded key. */
export function decodePair(encoded: Buffer): DecodedPair | undefined {
  const length = encoded[encoded.length - 1] ?? 0;
  if (length < 1 || encoded.length < length + OVERHEAD_BYTES) {
    return undefined;
  }
  if (encoded.length > MAX_LMDB_KEY_BYTES) {
    return undefined;
  }
  const valueStart = length + SEPARATOR_BYTES;
  for (let at = length; at < valueStart; at += 1) {
    if (encoded[at] !== 0) {
      return undefined;
    }
  }
  return {
    key: encoded.subarray(0, length),
    value: encoded.subarray(valueStart, encoded.length - 1),
  };
}
