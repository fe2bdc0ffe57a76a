import { MAX_MANIFEST_BYTES } from '../../protocol/limits.ts';
import { encodeManifest, type Manifest } from '../../protocol/manifest.ts';
import { manifestName } from '../../protocol/object-name.ts';
import { MemoryObjectStore } from '../../storage/memory.ts';
import { readManifest } from '../../storage/read-manifest.ts';
import { bodyOf } from '../support/object-store-conformance.ts';

const { signal } = new AbortController();

const manifest: Manifest = {
  version: 1,
  id: 'one',
  database: 'main',
  base: 'main__compacted__20240131-235959-012345678__Gabc__S1.base.pb.gz',
  level1: [],
  vector: new Map(),
  entries: 3,
  tombstones: 1,
  publishedAtNs: 7n,
  rejoinBeforeNs: 0n,
};

test('there is no manifest before the first compaction', async () => {
  expect(await readManifest(new MemoryObjectStore(), 'main', signal)).toBeUndefined();
});

test('a manifest is read with its bytes and its etag', async () => {
  const store = new MemoryObjectStore();
  const bytes = encodeManifest(manifest);
  const etag = await store.putIfUnchanged(manifestName('main'), bytes, { signal, etag: undefined });
  const stored = await readManifest(store, 'main', signal);
  expect(stored).toEqual({ manifest, bytes: Buffer.from(bytes), etag });
});

test.each([
  ['that is damaged', '{'],
  ['that is longer than the format allows', ' '.repeat(MAX_MANIFEST_BYTES + 1)],
])('a manifest %s is refused', async (_, text) => {
  const store = new MemoryObjectStore();
  await store.put(manifestName('main'), bodyOf(text), signal);
  await expect(readManifest(store, 'main', signal)).rejects.toMatchObject({
    code: 'MESSAGE_INVALID',
  });
});
