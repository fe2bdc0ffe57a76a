import { COMPACTED_INSTANCE, manifestName, parseObjectName } from '../../protocol/object-name.ts';
import type { ObjectName, StreamId } from '../../protocol/object-name.ts';
import { covers, type VersionVector } from '../../protocol/version-vector.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import type { ListedEvent } from './observer.ts';

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

/** What an instance's earlier runs have left in the bucket. */
export type EarlierObjects = {
  /** The newest full snapshot of any run, this one included. */
  readonly full: Pick<ListedObject, 'timeNs' | 'sizeBytes'> | undefined;
  /** Deltas of earlier runs that neither it nor the published base makes superfluous. */
  readonly deltas: number;
  readonly deltaBytes: number;
};

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

/**
 * The order of a pass: full snapshots first, the newest of all before older ones: those are then covered, and a covered
 * one must not be read, since a newer one may have dropped the tombstones of what it holds. Deltas after them by stream and
 * number (so the vector has no gaps on the way), those of the own instance first.
 */
export function passOrder(objects: readonly ListedObject[], instance: string): ListedObject[] {
  const rank = (object: ListedObject) =>
    object.kind === 'snapshot' ? 0 : object.instance === instance ? 1 : 2;
  return [...objects].toSorted((a, b) => {
    const byRank = rank(a) - rank(b);
    if (byRank !== 0) {
      return byRank;
    }
    if (a.kind === 'snapshot') {
      return a.timeNs > b.timeNs ? -1 : a.timeNs < b.timeNs ? 1 : 0;
    }
    if (a.stream !== b.stream) {
      return a.stream < b.stream ? -1 : 1;
    }
    return a.seq < b.seq ? -1 : a.seq > b.seq ? 1 : 0;
  });
}
