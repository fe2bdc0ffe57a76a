import { KeyHashes } from '../../../agent/lmdb/key-hashes.ts';

test('KeyHashes finds what was added, and only that', () => {
  const hashes = new KeyHashes();
  const key = (at: number) => Buffer.from(`key-${at}`);
  for (let at = 0; at < 50_000; at += 1) {
    hashes.add('d', key(at), 0, key(at).length);
  }
  hashes.add('d', key(1), 0, key(1).length);
  expect(hashes.size).toBe(50_000);
  const found = (dbi: string, at: number) => hashes.has(dbi, key(at), 0, key(at).length);
  expect(Array.from({ length: 50_000 }, (_, at) => found('d', at)).every(Boolean)).toBe(true);
  expect(Array.from({ length: 50_000 }, (_, at) => found('d', 60_000 + at)).some(Boolean)).toBe(
    false,
  );
  expect(Array.from({ length: 50_000 }, (_, at) => found('e', at)).some(Boolean)).toBe(false);
});
