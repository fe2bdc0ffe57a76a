import { parseObjectName } from '../../protocol/object-name.ts';
import { covers, type VersionVector } from '../../protocol/version-vector.ts';
import type { PassResult } from './receiver.ts';

/**
 * The time of the oldest object that somebody may still read, by its name; undefined: there is none.
 *
 * What such an object holds may be what a tombstone has to beat: a base from before the deletion, a full snapshot of a
 * host that is away. Whoever starts from it would have the deleted entry again once the tombstone is dropped, and so would
 * the next base. Objects that the published state covers are read by nobody, nor are those that a full snapshot of
 * this run covers: readers take the newest full snapshots first, and skip what they cover.
 */
export function oldestReadNs(
  { listing, manifest }: Pick<PassResult, 'listing' | 'manifest'>,
  ownSnapshots: ReadonlyMap<string, VersionVector>,
): bigint | undefined {
  const listed = new Set(listing.objects.map(({ name }) => name));
  const states = [...ownSnapshots].filter(([name]) => listed.has(name));
  const published = manifest === undefined ? [] : [manifest.base, ...manifest.level1];
  const times = published.flatMap((name) => parseObjectName(name)?.timeNs ?? 0n);
  for (const object of listing.objects) {
    if (manifest !== undefined && covers(manifest.vector, object)) continue;
    if (states.some(([name, vector]) => name !== object.name && covers(vector, object))) continue;
    times.push(object.timeNs);
  }
  return times.reduce<bigint | undefined>(
    (oldest, time) => (oldest === undefined || time < oldest ? time : oldest),
    undefined,
  );
}
