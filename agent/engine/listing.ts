import { COMPACTED_INSTANCE, manifestName, parseObjectName } from '../../protocol/object-name.ts';
import type { ObjectName, StreamId } from '../../protocol/object-name.ts';
import { covers, type VersionVector } from '../../protocol/version-vector.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import type { ListedEvent } from './observer.ts';
import type { EarlierObjects } from './publish/full-snapshot-policy.ts';

/** One LIST of a database's objects, parsed. */
export type Listing = {
  /** Snapshots and deltas, in name order; bases are found through the manifest only. */
  readonly objects: readonly ListedObject[];
  /** Etag of each base by name: whether one is needed says the manifest. */
  readonly bases: ReadonlyMap<string, string>;
  /** The manifest's etag in this very listing, undefined when there is none. */
  readonly manifestEtag: string | undefined;
  /** True when all names came in one answer, so that the listing shows one moment. */
  readonly singlePage: boolean;
  readonly count: number;
  readonly bytes: number;
};

export type ListedObject = ObjectName & { readonly sizeBytes: number; readonly etag: string };

/** S3 gives at most this many names in one answer. */
const NAMES_PER_PAGE = 1000;

/** Lists everything whose name belongs to `database`. One LIST request per 1,000 names. */
export async function listDatabase(
  store: ObjectStore,
  database: string,
  signal: AbortSignal,
): Promise<Listing> {
  const objects: ListedObject[] = [];
  const bases = new Map<string, string>();
  let manifestEtag: string | undefined;
  let count = 0;
  let bytes = 0;
  for await (const info of store.list(`${database}__`, { signal })) {
    count += 1;
    bytes += info.sizeBytes;
    if (info.name === manifestName(database)) {
      manifestEtag = info.etag;
      continue;
    }
    const parsed = parseObjectName(info.name);
    if (parsed === undefined || parsed.database !== database) {
      continue;
    }
    if (isCompacted(parsed)) {
      // The compactor's copy for upstream readers holds nothing that the base does not.
      bases.set(info.name, info.etag);
      continue;
    }
    objects.push({ ...parsed, sizeBytes: info.sizeBytes, etag: info.etag });
  }
  return { objects, bases, manifestEtag, singlePage: count < NAMES_PER_PAGE, count, bytes };
}

/** It is found by the manifest, if at all. No agent may have the compactor's name. */
export function isCompacted({ instance, kind }: ObjectName): boolean {
  return instance === COMPACTED_INSTANCE || kind === 'base';
}

/** Names of uncovered objects that share stream and number: a copy of a running machine stored one of them. */
export function doublesOf(objects: readonly ListedObject[], vector: VersionVector): Set<string> {
  const first = new Map<string, string>();
  const doubles = new Set<string>();
  for (const object of objects) {
    if (covers(vector, object)) {
      continue;
    }
    const place = `${object.stream}/${object.seq}`;
    const other = first.get(place);
    if (other === undefined) {
      first.set(place, object.name);
    } else {
      doubles.add(other).add(object.name);
    }
  }
  return doubles;
}

export function describeListing(listing: Listing): ListedEvent {
  const newest = new Map<string, ObjectName>();
  for (const object of listing.objects) {
    const known = newest.get(object.instance);
    if (known === undefined || known.timeNs < object.timeNs) {
      newest.set(object.instance, object);
    }
  }
  return { objects: listing.count, bytes: listing.bytes, newest };
}

/** Counts what one instance's runs before the one of `ownStream` have stored since they last stored everything. */
export function earlierObjects(
  own: readonly ListedObject[],
  { ownStream, base }: { readonly ownStream: StreamId; readonly base: VersionVector | undefined },
): EarlierObjects {
  let full: ListedObject | undefined;
  for (const object of own) {
    if (object.kind === 'snapshot' && (full === undefined || object.timeNs > full.timeNs)) {
      full = object;
    }
  }
  const sinceNs = full?.timeNs ?? 0n;
  let deltas = 0;
  let deltaBytes = 0;
  for (const object of own) {
    const counts =
      object.kind === 'delta' && object.stream !== ownStream && object.timeNs > sinceNs;
    if (counts && (base === undefined || !covers(base, object))) {
      deltas += 1;
      deltaBytes += object.sizeBytes;
    }
  }
  return { full, deltas, deltaBytes };
}

/** What the names say, marked full snapshots last: notices come in any order, and what those follow may be among them. */
export function objectsNamed(names: readonly string[]): ObjectName[] {
  const objects = names.map(parseObjectName).filter((object) => object !== undefined);
  return [...objects.filter(({ marked }) => !marked), ...objects.filter(({ marked }) => marked)];
}

/**
 * The order of a pass: full snapshots first, the newest of all before older ones: those are then covered, and a covered
 * one must not be read, since a newer one may have dropped the tombstones of what it holds. Deltas after them by stream and
 * number (so the vector has no gaps on the way), those of the own instance first.
 *
 * A marked full snapshot comes behind the deltas where all below it are listed: when they are in, it is not read.
 */
export function passOrder(
  objects: readonly ListedObject[],
  { instance, vector }: { readonly instance: string; readonly vector: VersionVector },
): ListedObject[] {
  const numbers = numbersByStream(objects);
  const rankOf = (object: ListedObject) => {
    const isFull = object.kind === 'snapshot';
    if (isFull && !(object.marked && isChained(object, { numbers, vector }))) {
      return 0;
    }
    return (object.instance === instance ? 1 : 3) + (isFull ? 1 : 0);
  };
  const ranked = objects.map((object) => ({ object, rank: rankOf(object) }));
  const sorted = ranked.toSorted((a, b) => {
    if (a.rank !== b.rank) {
      return a.rank - b.rank;
    }
    if (a.rank === 0) {
      return compare(b.object.timeNs, a.object.timeNs);
    }
    return compare(a.object.stream, b.object.stream) || compare(a.object.seq, b.object.seq);
  });
  return sorted.map(({ object }) => object);
}

/** Of each stream the numbers that are to be read: true where a full snapshot makes those below superfluous. */
function numbersByStream(
  objects: readonly ListedObject[],
): ReadonlyMap<StreamId, ReadonlyMap<bigint, boolean>> {
  const numbers = new Map<StreamId, Map<bigint, boolean>>();
  for (const { stream, seq, kind, marked } of objects) {
    const known = numbers.get(stream) ?? new Map<bigint, boolean>();
    numbers.set(
      stream,
      known.set(seq, known.get(seq) === true || (kind === 'snapshot' && !marked)),
    );
  }
  return numbers;
}

/** True if every number below this one is in, or is to be read. */
function isChained(
  { stream, seq }: ListedObject,
  parts: {
    readonly numbers: ReadonlyMap<StreamId, ReadonlyMap<bigint, boolean>>;
    readonly vector: VersionVector;
  },
): boolean {
  const numbers = parts.numbers.get(stream);
  const reached = parts.vector.get(stream) ?? 0n;
  for (let below = seq - 1n; below > reached; below -= 1n) {
    const isWhole = numbers?.get(below);
    if (isWhole !== false) {
      return isWhole === true;
    }
  }
  return true;
}

function compare<T extends bigint | string>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
