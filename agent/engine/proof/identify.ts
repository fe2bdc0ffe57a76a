import { requireMatchingMeta } from '../../../protocol/delta.ts';
import type { ObjectName, StreamId } from '../../../protocol/object-name.ts';
import { boundedRejoin } from '../../../protocol/snapshot-meta.ts';
import { readSnapshotHead } from '../../../protocol/snapshot-reader.ts';
import type { VersionVector } from '../../../protocol/version-vector.ts';

/** What an object proves. */
export type Identified = {
  readonly stream: StreamId;
  readonly seq: bigint;
  /** Of a full state; a delta has none. */
  readonly vector: VersionVector | undefined;
  readonly rejoinBeforeNs?: bigint | undefined;
};

/**
 * Checks an object's Meta against its name, and says how the vector may move with it.
 *
 * A full snapshot is the whole of its own stream up to itself. Of other streams it proves nothing, whatever it says:
 * believed, one wrong object would have everybody skip what they need. Errors: SNAPSHOT_CORRUPT.
 */
export async function identify(
  object: ObjectName,
  open: () => AsyncIterable<Uint8Array>,
  limits: { readonly nowNs: bigint; readonly retentionMs: number | undefined },
): Promise<Identified> {
  const { stream, seq } = object;
  const vector = object.kind === 'delta' ? undefined : new Map([[stream, seq]]);
  // Upstream's Meta decides nothing: the name does.
  if (!object.ours) {
    return { stream, seq, vector };
  }
  const { meta } = await readSnapshotHead(open());
  // A copied or renamed object must not move the vector of a stream that it does not belong to.
  requireMatchingMeta(object, meta);
  const rejoinBeforeNs = boundedRejoin(meta.rejoinBeforeNs, limits);
  return { stream, seq, vector, rejoinBeforeNs };
}
