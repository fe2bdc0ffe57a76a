import { OwnSnapshots } from '../../../agent/engine/own-objects.ts';
import type { ListedObject } from '../../../agent/engine/listing.ts';
import { formatObjectName, parseObjectName, type StreamId } from '../../../protocol/object-name.ts';
import type { VersionVector } from '../../../protocol/version-vector.ts';

const vectorOf = (positions: Record<string, bigint>): VersionVector =>
  new Map(Object.entries(positions) as [StreamId, bigint][]);

function full(seq: bigint, marked: boolean): ListedObject {
  const parts = { database: 'main', instance: 'a', run: 'now', kind: 'snapshot' } as const;
  const name = formatObjectName({ ...parts, timeNs: seq, seq, marked });
  return { ...parseObjectName(name)!, sizeBytes: 1, etag: '1' };
}

const EARLIER = { 'a.before': 7n, 'b.x': 3n };

test('a marked full snapshot proves its own stream alone', () => {
  const snapshots = new OwnSnapshots();
  const marked = full(4n, true);
  snapshots.noteStored(marked, vectorOf({ ...EARLIER, 'a.now': 4n }));
  expect(snapshots.vectors.get(marked.name)).toEqual(vectorOf({ 'a.now': 4n }));
});

test('one that replaces an unmarked one of its run proves what that one did, and no more', () => {
  const snapshots = new OwnSnapshots();
  const [unmarked, marked] = [full(1n, false), full(4n, true)];
  snapshots.noteStored(unmarked, vectorOf({ ...EARLIER, 'a.now': 1n }));
  snapshots.noteStored(marked, vectorOf({ ...EARLIER, 'c.late': 1n, 'a.now': 4n }));
  expect(snapshots.vectors.get(marked.name)).toEqual(vectorOf({ ...EARLIER, 'a.now': 4n }));
  // The unmarked one is cleaned away; its successor stands for it, and the next one for both.
  snapshots.forgetGone([marked], vectorOf({ 'a.now': 4n }));
  const next = full(6n, true);
  snapshots.noteStored(next, vectorOf({ 'a.now': 6n }));
  expect([...snapshots.vectors.keys()]).toEqual([marked.name, next.name]);
  expect(snapshots.vectors.get(next.name)).toEqual(vectorOf({ ...EARLIER, 'a.now': 6n }));
});

test('where all are gone nothing is proved by what comes later', () => {
  const snapshots = new OwnSnapshots();
  snapshots.noteStored(full(1n, false), vectorOf({ ...EARLIER, 'a.now': 1n }));
  snapshots.forgetGone([], vectorOf({ 'a.now': 1n }));
  const marked = full(4n, true);
  snapshots.noteStored(marked, vectorOf({ ...EARLIER, 'a.now': 4n }));
  expect(snapshots.vectors.get(marked.name)).toEqual(vectorOf({ 'a.now': 4n }));
});
