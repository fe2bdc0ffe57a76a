import * as z from 'zod';
import { SyncError } from './errors.ts';
import { MAX_VECTOR_STREAMS } from './limits.ts';
import type { StreamId } from './object-name.ts';

/**
 * What a state holds: of each stream every object up to that number, or something newer.
 * A stream that is not in it counts as 0. Numbers are unsigned, 64 bits.
 */
export type VersionVector = ReadonlyMap<StreamId, bigint>;

/** One object's place. */
export type StreamPosition = { readonly stream: StreamId; readonly seq: bigint };

/** The vector of a state that holds nothing. */
export const EMPTY_VECTOR: VersionVector = new Map();

/** True if the state holds the content of the object, or something newer. */
export function covers(vector: VersionVector, position: StreamPosition): boolean {
  return (vector.get(position.stream) ?? 0n) >= position.seq;
}

/** The vector of two states merged: per stream the higher number. */
export function joinVectors(a: VersionVector, b: VersionVector): VersionVector {
  const joined = new Map(a);
  for (const [stream, seq] of b) {
    if (seq > (joined.get(stream) ?? 0n)) {
      joined.set(stream, seq);
    }
  }
  return joined;
}

/** The vector with one object's place joined in. */
export function advanceVector(vector: VersionVector, position: StreamPosition): VersionVector {
  return covers(vector, position) ? vector : new Map(vector).set(position.stream, position.seq);
}

/** True if a state of vector `by` holds everything that one of `vector` holds. */
export function isCoveredBy(vector: VersionVector, by: VersionVector): boolean {
  for (const [stream, seq] of vector) {
    if (seq > (by.get(stream) ?? 0n)) {
      return false;
    }
  }
  return true;
}

const MAX_NUMBER = 0xffff_ffff_ffff_ffffn;

const MAX_STREAM_ID_LENGTH = 1024;
const STREAM_ID = /^[^./\\\u0000-\u001f\u007f]*\.(?:X|[a-z0-9]{1,32})$/;

/**
 * True for a stream id as it may stand in a vector: instance, a dot, run. 30 times as fast as the schema: a hostile
 * object can make a reader ask for 250,000 of them.
 */
export function isStreamId(text: string): text is StreamId {
  return text.length <= MAX_STREAM_ID_LENGTH && STREAM_ID.test(text);
}

/** A stream id as {@link isStreamId} says. */
export const streamIdSchema = z
  .string()
  .max(MAX_STREAM_ID_LENGTH)
  .regex(STREAM_ID)
  .transform((text) => text as StreamId);

/** An unsigned 64-bit number as decimal text: JSON numbers are exact only up to 2^53. */
export const decimalSchema = z
  .string()
  .regex(/^(?:0|[1-9][0-9]{0,19})$/)
  .transform((text) => BigInt(text))
  .refine((number) => number <= MAX_NUMBER, 'above 2^64 - 1');

/** A vector as JSON: an object from stream id to decimal text. */
export const vectorSchema = z
  .record(z.string(), z.unknown())
  .refine((record) => Object.keys(record).length <= MAX_VECTOR_STREAMS, 'too many streams')
  .transform((record, context): VersionVector => {
    const vector = new Map<StreamId, bigint>();
    for (const [key, value] of Object.entries(record)) {
      const stream = streamIdSchema.safeParse(key);
      const seq = decimalSchema.safeParse(value);
      if (!stream.success || !seq.success) {
        context.addIssue({ code: 'custom', message: `stream "${key.slice(0, 80)}" is invalid` });
        return z.NEVER;
      }
      vector.set(stream.data, seq.data);
    }
    return vector;
  });

/** The vector as a JSON value: stream ids ascending, numbers as decimal text. Equal vectors give equal text. */
export function encodeVectorJson(vector: VersionVector): Record<string, string> {
  const sorted = [...vector].sort(([a], [b]) => (a < b ? -1 : 1));
  // fromEntries defines own properties, so that a stream called "__proto__.x" is data like any other.
  return Object.fromEntries(sorted.map(([stream, seq]) => [stream, seq.toString()]));
}

/** The inverse of {@link encodeVectorJson}. Errors: MESSAGE_INVALID. */
export function decodeVectorJson(json: unknown): VersionVector {
  const parsed = vectorSchema.safeParse(json);
  if (!parsed.success) {
    throw new SyncError(
      'MESSAGE_INVALID',
      `version vector: ${parsed.error.issues[0]?.message ?? 'invalid'}`,
    );
  }
  return parsed.data;
}
