import * as z from 'zod';
import { parseJsonMessage } from './json-message.ts';
import { MAX_LEVEL1_DELTAS, MAX_MANIFEST_BYTES } from './limits.ts';
import { parseObjectName } from './object-name.ts';
import type { SchemaMode } from './snapshot-meta.ts';
import { decimalSchema, encodeVectorJson, vectorSchema } from './version-vector.ts';

const objectNameSchema = z
  .string()
  .refine((name) => parseObjectName(name)?.ours === true, 'not the name of an object of ours');

const manifestSchema = z.object({
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
});

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
  readonly vector: z.infer<typeof vectorSchema>;
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
  };
  return Buffer.from(`${JSON.stringify(json)}\n`, 'utf8');
}

/** Parses a manifest. Errors: MESSAGE_INVALID. */
export function parseManifest(bytes: Uint8Array): Manifest {
  return parseJsonMessage(bytes, {
    what: 'manifest',
    maxBytes: MAX_MANIFEST_BYTES,
    schema: manifestSchema,
  });
}
