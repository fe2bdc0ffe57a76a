import { COMPACTED_INSTANCE, type StreamId, parseObjectName } from '../protocol/object-name.ts';
import type { ObjectInfo } from '../storage/object-store.ts';
import { type VersionVector, covers } from '../protocol/version-vector.ts';
import { ListedObjects, type StoredObject } from './listed-objects.ts';

export type { StoredObject };

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
  infos: Iterable<ObjectInfo>,
  truncated = false,
): SortedListing {
  const sorter = new ListingSorter(database);
  for (const info of infos) {
    sorter.add(info);
  }
  return sorter.finish(truncated);
}

/** Sorts objects while they are listed, so that no listing is held twice. */
export class ListingSorter {
  readonly #database: string;
  readonly #objects = new ListedObjects();
  readonly #snapshots: StoredObject[] = [];
  readonly #compacted: StoredObject[] = [];
  readonly #copies: StoredObject[] = [];
  readonly #deltas = new Map<StreamId, StoredObject[]>();

  constructor(database: string) {
    this.#database = database;
  }

  /** Takes an object in; one of another database, or a foreign file, is left out. */
  add(info: ObjectInfo): void {
    const name = parseObjectName(info.name);
    if (name === undefined || name.database !== this.#database) {
      return;
    }
    const object = this.#objects.add(name, info);
    if (name.instance === COMPACTED_INSTANCE) {
      (name.kind === 'snapshot' ? this.#copies : this.#compacted).push(object);
    } else if (name.kind === 'snapshot') {
      this.#snapshots.push(object);
    } else if (name.kind === 'delta') {
      const stream = this.#deltas.get(object.stream);
      if (stream === undefined) {
        this.#deltas.set(object.stream, [object]);
      } else {
        stream.push(object);
      }
    }
  }

  /** What was added, in order. */
  finish(truncated: boolean): SortedListing {
    this.#snapshots.sort(newestFirst);
    this.#copies.sort(newestFirst);
    for (const stream of this.#deltas.values()) {
      stream.sort((a, b) => (a.seq < b.seq ? -1 : 1));
    }
    return {
      snapshots: this.#snapshots,
      deltas: this.#deltas,
      compacted: this.#compacted,
      copies: this.#copies,
      truncated,
    };
  }
}

/** The listing as it would be after a step that has deleted and written objects. */
export function afterStep(
  listing: SortedListing,
  done: {
    readonly deleted: readonly string[];
    readonly written: string | undefined;
    readonly writtenBytes: number;
  },
  nowMs: number,
): SortedListing {
  const gone = new Set(done.deleted);
  const kept = (objects: readonly StoredObject[]): readonly StoredObject[] =>
    gone.size === 0 ? objects : objects.filter(({ name }) => !gone.has(name));
  const name = done.written === undefined ? undefined : parseObjectName(done.written);
  const written =
    name === undefined ? [] : [{ ...name, sizeBytes: done.writtenBytes, lastModifiedMs: nowMs }];
  return {
    ...listing,
    snapshots: kept(listing.snapshots),
    deltas: new Map([...listing.deltas].map(([stream, objects]) => [stream, kept(objects)])),
    compacted: [...kept(listing.compacted), ...written],
    copies: kept(listing.copies),
  };
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
