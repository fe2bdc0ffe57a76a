import { passOrder, type ListedObject } from '../../../agent/engine/listing.ts';
import { oldestReadNs } from '../../../agent/engine/sweep-limit.ts';
import { formatObjectName, parseObjectName } from '../../../protocol/object-name.ts';

function listed(instance: string, at: bigint, kind: 'snapshot' | 'delta', seq = 1n): ListedObject {
  const name = formatObjectName({
    database: 'main',
    instance,
    timeNs: 1_700_000_000_000_000_000n + at,
    run: `${instance}run`,
    seq,
    kind,
  });
  const object = parseObjectName(name);
  if (object === undefined) {
    throw new Error(name);
  }
  return { ...object, sizeBytes: 1, etag: '1' };
}

const short = (objects: readonly ListedObject[]) =>
  objects.map(({ instance, kind, seq }) => `${instance}.${seq} ${kind}`);

test('full snapshots are read newest first, whoever wrote them, then the own deltas', () => {
  const objects = [
    listed('a', 1n, 'snapshot'),
    listed('a', 9n, 'delta', 2n),
    listed('b', 5n, 'snapshot'),
    listed('b', 6n, 'delta', 2n),
  ];
  expect(short(passOrder(objects, { instance: 'a', vector: new Map() }))).toEqual([
    'b.1 snapshot',
    'a.1 snapshot',
    'a.2 delta',
    'b.2 delta',
  ]);
});

test('the oldest object that is still read is the oldest one listed, covered or not', () => {
  const old = listed('a', 1n, 'snapshot');
  const own = listed('b', 7n, 'snapshot');
  const listing = {
    objects: [own, old],
    bases: new Map(),
    manifestEtag: undefined,
    singlePage: true,
    count: 2,
    bytes: 2,
  };
  expect(oldestReadNs({ listing, manifest: undefined })).toBe(old.timeNs);
  expect(
    oldestReadNs({ listing: { ...listing, objects: [] }, manifest: undefined }),
  ).toBeUndefined();
});
