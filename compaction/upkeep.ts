import * as z from 'zod';
import { parseJsonMessage } from '../protocol/json-message.ts';
import { MAX_MANIFEST_BYTES } from '../protocol/limits.ts';
import { encodeManifest, type Manifest } from '../protocol/manifest.ts';
import type { StreamId } from '../protocol/object-name.ts';
import {
  EMPTY_VECTOR,
  decimalSchema,
  encodeVectorJson,
  streamIdSchema,
  vectorSchema,
  type VersionVector,
} from '../protocol/version-vector.ts';
import { RETIRED_MAX } from './limits.ts';

/** Since when a stream has no object in the bucket, and the generation that was published then. */
export type Gone = { readonly sinceNs: bigint; readonly generation: bigint };

/** A base did not fit into this much time. */
export type BaseTooLong = { readonly timeMs: number; readonly atNs: bigint };

/** What the compactor remembers beside the published state. Agents ignore it. */
export type Upkeep = {
  /** Objects that this vector covers may be deleted from `must_keep` after {@link settledAtNs} on. */
  readonly settled: VersionVector;
  /** When a manifest with that vector, or a higher one, was published. */
  readonly settledAtNs: bigint;
  /** Bases and level-1 deltas that a manifest named until that time. */
  readonly retired: ReadonlyMap<string, bigint>;
  /** Streams of the manifest's vector without an object in the bucket. */
  readonly gone: ReadonlyMap<StreamId, Gone>;
  /** When conditional writes were last proven on this storage; 0: never. */
  readonly conditionsProvenNs: bigint;
  /** The last try to write a base ran out of time; undefined: none has since a base was written. */
  readonly baseTooLong?: BaseTooLong | undefined;
};

/** A manifest as the compactor writes and reads it. */
export type PublishedState = { readonly manifest: Manifest; readonly upkeep: Upkeep };

const NO_UPKEEP: Upkeep = {
  settled: EMPTY_VECTOR,
  settledAtNs: 0n,
  retired: new Map(),
  gone: new Map(),
  conditionsProvenNs: 0n,
};

const times = z.record(z.string(), decimalSchema);
const upkeepSchema = z.object({
  upkeep: z
    .object({
      /** The settled numbers of the streams whose number is not the manifest's: few, where the whole vector may be long. */
      unsettled: vectorSchema,
      settledAtNs: decimalSchema,
      retired: times,
      goneSinceNs: times,
      // Compactors before it counted no generations.
      goneGenerations: times.default({}),
      // Compactors before it proved nothing.
      conditionsProvenNs: decimalSchema.default(0n),
      // Only a hint: one that cannot be read is none.
      baseTooLong: z
        .object({ timeMs: z.number(), atNs: decimalSchema })
        .optional()
        .catch(undefined),
    })
    .optional(),
});

/** The bytes of a manifest with the compactor's own notes in it. */
export function encodePublishedState(state: PublishedState): Uint8Array {
  const { settled, settledAtNs, retired, gone, conditionsProvenNs, baseTooLong } = state.upkeep;
  const goneTimes = [...gone].map(([stream, { sinceNs }]) => [stream, sinceNs] as const);
  const generations = [...gone].map(([stream, one]) => [stream, one.generation] as const);
  const json: unknown = JSON.parse(Buffer.from(encodeManifest(state.manifest)).toString('utf8'));
  const upkeep = {
    unsettled: encodeVectorJson(unsettledPart(state.manifest.vector, settled)),
    settledAtNs: settledAtNs.toString(),
    retired: encodeTimes([...retired].slice(-RETIRED_MAX)),
    goneSinceNs: encodeTimes(goneTimes),
    goneGenerations: encodeTimes(generations),
    conditionsProvenNs: conditionsProvenNs.toString(),
    baseTooLong: baseTooLong && { ...baseTooLong, atNs: baseTooLong.atNs.toString() },
  };
  return Buffer.from(`${JSON.stringify({ ...(json as object), upkeep })}\n`, 'utf8');
}

/**
 * The compactor's notes in the bytes of a manifest with this vector. One without notes (an operator wrote it) is one whose
 * state was published just now. Errors: MESSAGE_INVALID.
 */
export function parseUpkeep(bytes: Uint8Array, vector: VersionVector): Upkeep {
  const { upkeep } = parseJsonMessage(bytes, {
    what: 'manifest',
    maxBytes: MAX_MANIFEST_BYTES,
    schema: upkeepSchema,
  });
  if (upkeep === undefined) {
    return NO_UPKEEP;
  }
  const { unsettled, settledAtNs, retired, goneSinceNs, goneGenerations } = upkeep;
  const settled = new Map([...vector, ...unsettled]);
  const gone = new Map<StreamId, Gone>();
  for (const [stream, sinceNs] of Object.entries(goneSinceNs)) {
    const parsed = streamIdSchema.safeParse(stream);
    if (parsed.success) {
      gone.set(parsed.data, { sinceNs, generation: goneGenerations[stream] ?? 1n });
    }
  }
  return {
    settled,
    settledAtNs,
    retired: new Map(Object.entries(retired)),
    gone,
    conditionsProvenNs: upkeep.conditionsProvenNs,
    baseTooLong: upkeep.baseTooLong,
  };
}

/** The settled numbers that differ from the vector's; 0 for a stream that is not settled at all. */
function unsettledPart(vector: VersionVector, settled: VersionVector): VersionVector {
  const behind = new Map<StreamId, bigint>();
  for (const [stream, seq] of vector) {
    const settledSeq = settled.get(stream) ?? 0n;
    if (settledSeq < seq) {
      behind.set(stream, settledSeq);
    }
  }
  return behind;
}

function encodeTimes(times: Iterable<readonly [string, bigint]>): Record<string, string> {
  return Object.fromEntries([...times].map(([name, timeNs]) => [name, timeNs.toString()]));
}
