import { readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseObjectName } from '../../protocol/object-name.ts';
import { bytesBody } from '../../storage/bodies.ts';
import { MemoryObjectStore } from '../../storage/memory.ts';
import { SIGNAL, TestCompactor, names, plain } from '../support/compaction.ts';
import { freshState } from '../support/readers/fresh-reader.ts';

const FIXTURES = resolve(__dirname, '../fixtures');

/** Paths of all recorded snapshots, by case. */
function snapshotsOf(fixture: string): string[] {
  return readdirSync(join(FIXTURES, fixture, 'snapshots'), { recursive: true })
    .map(String)
    .filter((path) => path.endsWith('.pb.gz'))
    .map((path) => join(fixture, 'snapshots', path));
}

async function bucketOf(paths: readonly string[], database: string) {
  const store = new MemoryObjectStore();
  for (const path of paths) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (name.startsWith(`${database}__`)) {
      await store.put(name, bytesBody(readFileSync(join(FIXTURES, path))), SIGNAL);
    }
  }
  return store;
}

test.each([
  ['a-native-small', 'main'],
  ['b-powerdns-native', 'main'],
  ['b-powerdns-native', 'shard'],
  ['c-shadow-integerkey', 'main'],
  ['d-shadow-dupsort', 'main'],
  ['d2-powerdns47-shadow', 'main'],
  ['d2-powerdns47-shadow', 'shard'],
  ['e-merge', 'main'],
])(
  '%s, %s: what upstream wrote is folded, and a new host gets the same from the base',
  async (fixture, database) => {
    const store = await bucketOf(snapshotsOf(fixture), database);
    const before = plain(await freshState(store, database));
    const compactor = new TestCompactor(store);
    const report = await compactor.run({ database });
    expect(report).toMatchObject({ outcome: 'published', unreadable: [], leftObjects: 0 });
    expect(plain(await freshState(store, database))).toEqual(before);
    expect(await names(store)).toHaveLength(2);
    // And once more through the base's own bytes.
    compactor.policy = { ...compactor.policy, baseMaxAgeMs: 0, tombstoneRetentionMs: 1e15 };
    await compactor.run({ database });
    expect(plain(await freshState(store, database))).toEqual(before);
  },
);

test.each([
  ...snapshotsOf('f-old-formats'),
  ...snapshotsOf('g-corrupt'),
  ...snapshotsOf('h-edges'),
])('an odd or damaged object neither stops a run nor gets lost: %s', async (path) => {
  const store = await bucketOf([path, ...snapshotsOf('a-native-small')], 'main');
  const before = plain(await freshState(store));
  const report = await new TestCompactor(store).run();
  expect(report.outcome).toBe('published');
  expect(plain(await freshState(store))).toEqual(before);
  const name = path.slice(path.lastIndexOf('/') + 1);
  const foreign = parseObjectName(name) === undefined;
  const folded = report.deleted.includes(name);
  const reported = report.unreadable.some((object) => object.name === name);
  expect([foreign, folded, reported].filter(Boolean)).toHaveLength(1);
  expect((await names(store)).includes(name)).toBe(!folded);
});
