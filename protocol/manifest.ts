import * as z from 'zod';
import { parseJsonMessage } from './json-message.ts';
import {
  MAX_LEVEL1_DELTAS,
  MAX_MANIFEST_BYTES,
  MAX_RUN_LENGTH,
  MAX_VECTOR_STREAMS,
} from './limits.ts';
import {
  COMPACTED_INSTANCE,
  type StreamId,
  instanceOfStream,
  parseObjectName,
  streamOf,
} from './object-name.ts';
import type { SchemaMode } from './snapshot-meta.ts';
import {
  type VersionVector,
  decimalSchema,
  encodeVectorJson,
  isCoveredBy,
  streamIdSchema,
  vectorSchema,
} from './version-vector.ts';

const objectNameSchema = z
  .string()
  .refine((name) => parseObjectName(name)?.ours === true, 'not the name of an object of ours');

const lineageSchema = z.object({
  id: z.string().regex(new RegExp(`^[a-z0-9]{1,${MAX_RUN_LENGTH}}$`)),
  generation: decimalSchema.refine((number) => number > 0n, 'generations count from 1'),
  prunedGeneration: decimalSchema,
  partGenerations: z.array(decimalSchema).max(1 + MAX_LEVEL1_DELTAS),
});

const fieldsSchema = z.object({
  version: z.literal(1),
  id: z.string().min(1).max(100),
  database: z.string().min(1).max(1024),
  base: objectNameSchema,
  level1: z.array(objectNameSchema).max(MAX_LEVEL1_DELTAS),
  vector: vectorSchema,
  entries: z.number().int().nonnegative(),
  tombstones: z.number().int().nonnegative(),
  publishedAtNs: decimalSchema,
  // Compactors before it wrote none; those that dropped tombstones are not known, then.
  rejoinBeforeNs: decimalSchema.default(0n),
  // A later version may know more of them; agents look into the base itself.
  schemaMode: z.enum(['native', 'shadow']).optional().catch(undefined),
  lineage: lineageSchema.optional(),
  assumed: z
    .array(streamIdSchema)
    .max(MAX_VECTOR_STREAMS)
    .transform((streams): ReadonlySet<StreamId> => new Set(streams))
    .optional(),
  droppedNs: decimalSchema.optional(),
});

const manifestSchema = fieldsSchema.refine(
  ({ lineage, level1 }) =>
    lineage === undefined || lineage.partGenerations.length === 1 + level1.length,
  'not one generation for each part',
);

/** Where a published state stands among those that were built one on the other. */
export type Lineage = {
  /** Random; another one whenever a compactor begins from nothing. */
  readonly id: string;
  /** Counts publications, from 1. */
  readonly generation: bigint;
  /**
   * The newest generation that may hold something of a stream that has left the vector. A state that covers the
   * vector holds everything only if it knows this generation, or a later one.
   */
  readonly prunedGeneration: bigint;
  /** The generation that made each part: the base, then the level-1 deltas. */
  readonly partGenerations: readonly bigint[];
};

/**
 * Names the published base of a database. Replaced by conditional write only. Fields that a later
 * version adds are ignored.
 */
export type Manifest = {
  readonly version: 1;
  /** Unique per publication, so that no two manifests have equal bytes and no ETag repeats. */
  readonly id: string;
  readonly database: string;
  /** Name of the base object. */
  readonly base: string;
  /** Names of the level-1 deltas that belong to the base's state, in order. */
  readonly level1: readonly string[];
  /** What base and level-1 deltas together cover. */
  readonly vector: VersionVector;
  /** Entries of that state, tombstones included. */
  readonly entries: number;
  readonly tombstones: number;
  readonly publishedAtNs: bigint;
  /**
   * Tombstones are missing in the state, or may be: a host whose last complete sync is older than this may hold entries
   * whose deletion it never saw, and must rejoin. 0: nothing was ever dropped.
   */
  readonly rejoinBeforeNs: bigint;
  /** The schema mode of the state; undefined: no object in it has stated one. */
  readonly schemaMode?: SchemaMode | undefined;
  /** undefined: a compactor of earlier rules wrote it, which believed objects for streams of others. */
  readonly lineage?: Lineage | undefined;
  /**
   * Streams whose number was reached because lower ones were not listed any more, not because all were read. That
   * proves nothing to their writers.
   */
  readonly assumed?: ReadonlySet<StreamId> | undefined;
  /** Compactors have dropped tombstones: what is not covered and was named up to this time came back. 0: none were. */
  readonly droppedNs?: bigint | undefined;
};

/** The bytes of a manifest: JSON, UTF-8, 64-bit numbers as decimal text. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const json = {
    version: manifest.version,
    id: manifest.id,
    database: manifest.database,
    base: manifest.base,
    level1: manifest.level1,
    vector: encodeVectorJson(manifest.vector),
    entries: manifest.entries,
    tombstones: manifest.tombstones,
    publishedAtNs: manifest.publishedAtNs.toString(),
    rejoinBeforeNs: manifest.rejoinBeforeNs.toString(),
    schemaMode: manifest.schemaMode,
    lineage: lineageJson(manifest.lineage),
    assumed: manifest.assumed && [...manifest.assumed].sort(),
    droppedNs: manifest.droppedNs?.toString(),
  };
  return Buffer.from(`${JSON.stringify(json)}\n`, 'utf8');
}

function lineageJson(lineage: Lineage | undefined): unknown {
  return (
    lineage && {
      id: lineage.id,
      generation: lineage.generation.toString(),
      prunedGeneration: lineage.prunedGeneration.toString(),
      partGenerations: lineage.partGenerations.map(String),
    }
  );
}

/** Parses a manifest. Errors: MESSAGE_INVALID. */
export function parseManifest(bytes: Uint8Array): Manifest {
  return parseJsonMessage(bytes, {
    what: 'manifest',
    maxBytes: MAX_MANIFEST_BYTES,
    schema: manifestSchema,
  });
}

/** Stands for the states of compactors that wrote no lineage. Shorter than any lineage's id. */
const EARLIER_LINEAGE = 'earlier';

/**
 * A state's place among published ones: an entry of its version vector like any other, the lineage as run of the
 * instance `compacted` and the generation as number. So it is saved, joined and emptied with the vector.
 *
 * It is believed from the manifest alone. No agent may have that instance name.
 */
export function basePositionOf({ lineage }: { readonly lineage?: Lineage | undefined }): {
  readonly stream: StreamId;
  readonly seq: bigint;
} {
  const { id, generation } = lineage ?? { id: EARLIER_LINEAGE, generation: 1n };
  return { stream: streamOf(COMPACTED_INSTANCE, id), seq: generation };
}

/** True for an entry that tells of published states. */
export function isBasePosition(stream: StreamId): boolean {
  return instanceOfStream(stream) === COMPACTED_INSTANCE;
}

/** Of a vector what tells where an instance's objects are stored: its own streams, and its places among published states. */
export function ownPlaces(vector: VersionVector, instance: string): VersionVector {
  return new Map(
    [...vector].filter(
      ([stream]) => instanceOfStream(stream) === instance || isBasePosition(stream),
    ),
  );
}

/** What a state covers that has merged a published one. */
export function publishedVector(manifest: Manifest): VersionVector {
  const { stream, seq } = basePositionOf(manifest);
  return new Map([...manifest.vector, [stream, seq]]);
}

/** True for the place among states of compactors that wrote no lineage: its end proves no loss. */
export function isEarlierBasePosition(stream: StreamId): boolean {
  return stream === streamOf(COMPACTED_INSTANCE, EARLIER_LINEAGE);
}

/**
 * The objects, in order, that a state of this vector lacks of the published one. None: it holds all of it.
 *
 * That the vector covers the manifest's is not enough. An empty one is covered by everything, and what is in the base
 * of a stream that has left the vector shows in no vector any more. So the state must also know the generation up to
 * which streams have left.
 */
export function missingParts(manifest: Manifest, vector: VersionVector): readonly string[] {
  const { lineage, base, level1 } = manifest;
  const { stream } = basePositionOf(manifest);
  const known = vector.get(stream) ?? 0n;
  const parts = [base, ...level1];
  if (lineage === undefined) {
    return known > 0n && isCoveredBy(manifest.vector, vector) ? [] : parts;
  }
  const { generation, prunedGeneration, partGenerations } = lineage;
  if (known >= generation) {
    return [];
  }
  const covers = manifest.vector.size > 0 && isCoveredBy(manifest.vector, vector);
  if (covers && known >= prunedGeneration) {
    return [];
  }
  return parts.filter((_, at) => (partGenerations[at] ?? generation) > known);
}
