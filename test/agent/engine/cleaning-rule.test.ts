import { superfluousObjects, type CleaningInput } from '../../../agent/engine/cleaning-rule.ts';
import type { ListedObject } from '../../../agent/engine/listing.ts';
import {
  formatObjectName,
  parseObjectName,
  type ObjectKind,
  type StreamId,
} from '../../../protocol/object-name.ts';
import type { VersionVector } from '../../../protocol/version-vector.ts';

const DAY_MS = 24 * 3_600_000;
const NOW_NS = 1_800_000_000_000_000_000n;

/** An object of ours, `ageMs` old by its name. */
function ours(
  instance: string,
  run: string,
  options: { seq: bigint; kind: ObjectKind; ageMs?: number },
): ListedObject {
  const { seq, kind, ageMs = 1000 - Number(seq) } = options;
  const timeNs = NOW_NS - BigInt(ageMs) * 1_000_000n;
  return listed(formatObjectName({ database: 'main', instance, timeNs, run, seq, kind }));
}

/** A file of an upstream instance. */
function upstream(instance: string, time: string): ListedObject {
  return listed(`main__${instance}__${time}__GX.pb.gz`);
}

function listed(name: string): ListedObject {
  const object = parseObjectName(name);
  if (object === undefined) {
    throw new Error(name);
  }
  return { ...object, sizeBytes: 100, etag: '"1"' };
}

function vector(entries: Record<string, bigint>): VersionVector {
  return new Map(Object.entries(entries) as [StreamId, bigint][]);
}

function superfluous(input: Partial<CleaningInput>) {
  const found = superfluousObjects({
    objects: [],
    instance: 'a',
    snapshots: new Map(),
    published: undefined,
    upstreamReaders: false,
    removeOldInstancesMs: 7 * DAY_MS,
    nowNs: NOW_NS,
    ...input,
  });
  return found.map(({ object, reason }) => [object.name, reason]);
}

const d1 = ours('a', 'r1', { seq: 1n, kind: 'delta' });
const f2 = ours('a', 'r1', { seq: 2n, kind: 'snapshot' });
const d3 = ours('a', 'r1', { seq: 3n, kind: 'delta' });

test('what a stored full snapshot covers goes; the snapshot itself and what came after it stay', () => {
  const old = ours('a', 'r0', { seq: 9n, kind: 'snapshot' });
  const snapshots = new Map([[f2.name, vector({ 'a.r1': 2n, 'a.r0': 9n })]]);
  expect(superfluous({ objects: [old, d1, f2, d3], snapshots })).toEqual([
    [old.name, 'newer snapshot'],
    [d1.name, 'newer snapshot'],
  ]);
});

test('an older name proves nothing: an object that no vector has stays', () => {
  const unread = ours('b', 'r9', { seq: 1n, kind: 'snapshot', ageMs: 30 * DAY_MS });
  const snapshots = new Map([[f2.name, vector({ 'a.r1': 2n })]]);
  expect(superfluous({ objects: [unread, f2], snapshots })).toEqual([]);
});

test('of two full snapshots the newer one makes the older one superfluous, never both each other', () => {
  const f4 = ours('a', 'r1', { seq: 4n, kind: 'snapshot' });
  const snapshots = new Map([
    [f2.name, vector({ 'a.r1': 2n })],
    [f4.name, vector({ 'a.r1': 4n })],
  ]);
  expect(superfluous({ objects: [f2, d3, f4], snapshots })).toEqual([
    [f2.name, 'newer snapshot'],
    [d3.name, 'newer snapshot'],
  ]);
});

test('a living instance keeps what it has not superseded itself', () => {
  const old = ours('b', 'r9', { seq: 1n, kind: 'snapshot', ageMs: 9 * DAY_MS });
  const superseding = ours('b', 'r9', { seq: 2n, kind: 'snapshot', ageMs: 6 * DAY_MS });
  const delta = ours('b', 'r9', { seq: 3n, kind: 'delta', ageMs: 6 * DAY_MS });
  const snapshots = new Map([[f2.name, vector({ 'a.r1': 2n, 'b.r9': 3n })]]);
  expect(superfluous({ objects: [f2, old, superseding, delta], snapshots })).toEqual([
    [old.name, 'newer snapshot'],
  ]);
});

test('a stale instance goes, as far as its content is covered', () => {
  const covered = ours('b', 'r9', { seq: 1n, kind: 'snapshot', ageMs: 9 * DAY_MS });
  const uncovered = ours('b', 'r9', { seq: 2n, kind: 'delta', ageMs: 8 * DAY_MS });
  const snapshots = new Map([[f2.name, vector({ 'a.r1': 2n, 'b.r9': 1n })]]);
  expect(superfluous({ objects: [f2, covered, uncovered], snapshots })).toEqual([
    [covered.name, 'stale instance'],
  ]);
});

test('files of upstream are one stream by time, under the same rule', () => {
  const older = upstream('up', '20240101-000000-000000001');
  const newest = upstream('up', '20270114-235959-000000000');
  const snapshots = new Map([[f2.name, vector({ 'a.r1': 2n, 'up.X': newest.timeNs })]]);
  expect(superfluous({ objects: [f2, older, newest], snapshots })).toEqual([
    [older.name, 'newer snapshot'],
  ]);
  const behind = new Map([[f2.name, vector({ 'a.r1': 2n, 'up.X': older.timeNs - 1n })]]);
  expect(superfluous({ objects: [f2, older, newest], snapshots: behind })).toEqual([]);
});

test('what the published base covers goes, for all instances, once it has covered it long enough', () => {
  const b1 = ours('b', 'r9', { seq: 1n, kind: 'snapshot' });
  const b2 = ours('b', 'r9', { seq: 2n, kind: 'delta' });
  const now = vector({ 'a.r1': 3n, 'b.r9': 2n });
  const settled = vector({ 'a.r1': 1n, 'b.r9': 1n });
  expect(superfluous({ objects: [d1, f2, b1, b2], published: { now, settled } })).toEqual([
    [d1.name, 'newer snapshot'],
    [b1.name, 'newer snapshot'],
  ]);
  // Somebody has put an older manifest back: what it covered once counts no more.
  expect(superfluous({ objects: [d1, b1], published: { now: settled, settled: now } })).toEqual([
    [d1.name, 'newer snapshot'],
    [b1.name, 'newer snapshot'],
  ]);
  expect(superfluous({ objects: [b2], published: { now: settled, settled: now } })).toEqual([]);
});

test('where upstream reads the bucket, the newest full snapshot of every instance stays', () => {
  const stale = ours('b', 'r9', { seq: 5n, kind: 'snapshot', ageMs: 30 * DAY_MS });
  const staleDelta = ours('b', 'r9', { seq: 4n, kind: 'delta', ageMs: 30 * DAY_MS });
  const up = upstream('up', '20240101-000000-000000001');
  const all = vector({ 'a.r1': 3n, 'b.r9': 5n, 'up.X': up.timeNs });
  const objects = [d1, f2, d3, stale, staleDelta, up];
  const input = { objects, published: { now: all, settled: all } };
  expect(superfluous({ ...input, upstreamReaders: true }).map(([name]) => name)).toEqual([
    d1.name,
    d3.name,
    staleDelta.name,
  ]);
  expect(superfluous(input)).toHaveLength(objects.length);
});
