import {
  COMPACTED_INSTANCE,
  type ObjectName,
  type StreamId,
  parseObjectName,
} from '../protocol/object-name.ts';
import type { ObjectInfo } from '../storage/object-store.ts';
import { type VersionVector, covers } from '../protocol/version-vector.ts';

/** A listed object whose name parses. */
export type StoredObject = ObjectName & Pick<ObjectInfo, 'sizeBytes' | 'etag' | 'lastModifiedMs'>;

/** One listing of a database's objects, sorted by what they are. */
export type SortedListing = {
  /** Full snapshots of all instances, newest name first. */
  readonly snapshots: readonly StoredObject[];
  /** Deltas per stream, ascending by number. */
  readonly deltas: ReadonlyMap<StreamId, readonly StoredObject[]>;
  /** What compactors wrote: bases and level-1 deltas, published or not. */
  readonly compacted: readonly StoredObject[];
  /** Copies of bases for upstream's readers, newest first. */
  readonly copies: readonly StoredObject[];
  /** True if the listing was cut off at the limit: there may be objects that it does not show. */
  readonly truncated: boolean;
};

/** Sorts listed objects. Names of other databases and foreign files are left out. */
export function sortListing(
  database: string,
  infos: readonly ObjectInfo[],
  truncated = false,
): SortedListing {
  const snapshots: StoredObject[] = [];
  const compacted: StoredObject[] = [];
  const copies: StoredObject[] = [];
  const deltas = new Map<StreamId, StoredObject[]>();
  for (const info of infos) {
    const name = parseObjectName(info.name);
    if (name === undefined || name.database !== database) {
      continue;
    }
    const { sizeBytes, etag, lastModifiedMs } = info;
    const object = { ...name, sizeBytes, etag, lastModifiedMs };
    if (name.instance === COMPACTED_INSTANCE) {
      (name.kind === 'snapshot' ? copies : compacted).push(object);
    } else if (name.kind === 'snapshot') {
      snapshots.push(object);
    } else if (name.kind === 'delta') {
      const stream = deltas.get(name.stream);
      if (stream === undefined) {
        deltas.set(name.stream, [object]);
      } else {
        stream.push(object);
      }
    }
  }
  snapshots.sort(newestFirst);
  copies.sort(newestFirst);
  for (const stream of deltas.values()) {
    stream.sort((a, b) => (a.seq < b.seq ? -1 : 1));
  }
  return { snapshots, deltas, compacted, copies, truncated };
}

/** All objects of instances, full snapshots and deltas. */
export function* instanceObjects(listing: SortedListing): Generator<StoredObject> {
  yield* listing.snapshots;
  for (const stream of listing.deltas.values()) {
    yield* stream;
  }
}

/** The objects of instances that a state of this vector does not cover. */
export function uncovered(listing: SortedListing, vector: VersionVector): StoredObject[] {
  return [...instanceObjects(listing)].filter((object) => !covers(vector, object));
}

/** The newest full snapshot of every instance, by name: what upstream's readers take. */
export function newestSnapshots(listing: SortedListing): StoredObject[] {
  const newest = new Map<string, StoredObject>();
  for (const snapshot of listing.snapshots) {
    if (!newest.has(snapshot.instance)) {
      newest.set(snapshot.instance, snapshot);
    }
  }
  return [...newest.values()];
}

/** The newest name first; of equal times the higher name. */
function newestFirst(a: StoredObject, b: StoredObject): number {
  if (a.timeNs !== b.timeNs) {
    return a.timeNs > b.timeNs ? -1 : 1;
  }
  return a.name > b.name ? -1 : 1;
}
