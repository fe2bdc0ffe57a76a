import { deletable, type DeleteInput } from '../../compaction/delete-rule.ts';
import { sortListing } from '../../compaction/listing.ts';
import { DEFAULT_POLICY } from '../../compaction/policy.ts';
import type { PublishedState } from '../../compaction/upkeep.ts';

const base = (run: string) => `main__compacted__20240131-235959-012345678__G${run}__S1.base.pb.gz`;
const [PUBLISHED, RETIRED, UNKNOWN] = [base('published'), base('retired'), base('unknown')];
const NOW_NS = 1_800_000_000_000_000_000n;
const LONG_AGO_NS = NOW_NS - 86_400_000_000_000n;

const published: PublishedState = {
  manifest: {
    version: 1,
    id: '7',
    database: 'main',
    base: PUBLISHED,
    level1: [],
    vector: new Map(),
    entries: 1,
    tombstones: 0,
    publishedAtNs: NOW_NS,
    rejoinBeforeNs: 0n,
  },
  upkeep: {
    settled: new Map(),
    settledAtNs: LONG_AGO_NS,
    retired: new Map([[RETIRED, LONG_AGO_NS]]),
    gone: new Map(),
    conditionsProvenNs: 0n,
  },
};

function deletedNames(more: Partial<DeleteInput>): string[] {
  const infos = [PUBLISHED, RETIRED, UNKNOWN].map((name) => ({
    name,
    sizeBytes: 1,
    etag: 'e',
    lastModifiedMs: 0,
  }));
  return deletable({
    listing: sortListing('main', infos),
    before: published,
    published,
    ownPublication: false,
    copied: false,
    nowNs: NOW_NS,
    policy: DEFAULT_POLICY,
    ...more,
  }).map(({ name }) => name);
}

test('a base that no manifest has named may be named by another compactor at any moment: it stays until we have published', () => {
  expect(deletedNames({})).toEqual([RETIRED]);
  expect(deletedNames({ ownPublication: true })).toEqual([RETIRED, UNKNOWN]);
});

test('a base that was replaced stays for must_keep', () => {
  const upkeep = { ...published.upkeep, retired: new Map([[RETIRED, NOW_NS]]) };
  expect(deletedNames({ published: { ...published, upkeep } })).toEqual([]);
});
