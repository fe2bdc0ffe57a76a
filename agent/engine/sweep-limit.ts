import { parseObjectName } from '../../protocol/object-name.ts';
import type { PassResult } from './pass-result.ts';

/**
 * The time of the oldest object that somebody may still read, by its name; undefined: there is none.
 *
 * What such an object holds may be what a tombstone has to beat: a base from before the deletion, a full snapshot of a
 * host that is away. Whoever starts from it would have the deleted entry again once the tombstone is dropped, and so would
 * the next base.
 *
 * Objects that a full state covers count as long as they are listed: hosts in step skip them, but one that rejoins reads
 * everything, and upstream's instances know nothing of vectors. They go away by cleaning and compaction.
 */
export function oldestReadNs({
  listing,
  manifest,
}: Pick<PassResult, 'listing' | 'manifest'>): bigint | undefined {
  const published = manifest === undefined ? [] : [manifest.base, ...manifest.level1];
  const times = [
    ...published.map((name) => parseObjectName(name)?.timeNs ?? 0n),
    ...listing.objects.map(({ timeNs }) => timeNs),
  ];
  return times.reduce<bigint | undefined>(
    (oldest, time) => (oldest === undefined || time < oldest ? time : oldest),
    undefined,
  );
}
